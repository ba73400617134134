"""How many web processes serve the site on this machine. Read without Django."""

from __future__ import annotations

import os

from cloudtrain_site.conf.environment import ConfigurationError, Environment

VARIABLE = "CLOUDTRAIN_WEB_PROCESSES"
OPTION = "--processes"
MOST_BY_DEFAULT = 4
MOST = 64
PROCESSES_HELP = f"number of web processes (default: {VARIABLE}, or one per core up to four, with SQLite one)"


def web_processes(env: Environment, engine: str) -> int:
    """Return the variable's number; by default one a core, up to four, with PostgreSQL, and one with SQLite.

    SQLite is read within the process and has one writer: more processes are allowed, and seldom worth their memory.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    default = 1 if engine.endswith("sqlite3") else min(cores, MOST_BY_DEFAULT)
    return _checked(env.whole_number(VARIABLE, default=default), VARIABLE)


def processes_of(option: int | None) -> int:
    """Return the number that the command line names, or else the environment."""
    if option is not None:
        return _checked(option, OPTION)
    env = Environment()
    return web_processes(env, env.database("DATABASE_URL", default="sqlite:///none")["ENGINE"])


def _checked(number: int, name: str) -> int:
    if not 0 < number <= MOST:
        raise ConfigurationError(f"{name} must be a whole number from 1 to {MOST}.")
    return number
