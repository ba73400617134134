"""Keeps trainers, which run as our own user, from looking into our processes.

    python -m cloudtrain_site.serving.inspection MODULE [ARGUMENT ...]

runs a module so that nobody can from its beginning on: our libraries take half a second to load, so this one has none.
"""

from __future__ import annotations

import ctypes
import os
import runpy
import sys

DEBUGGABLE_VARIABLE = "CLOUDTRAIN_DEBUGGABLE"
PR_SET_DUMPABLE = 4


def forbid_inspection() -> None:
    """Have Linux keep our environment, memory and open files from every other process that isn't root's.

    Without it each process of our user reads them through `/proc`, or by ptrace. Forked children inherit it; a program
    that is executed begins without it.
    """
    if sys.platform == "linux" and os.environ.get(DEBUGGABLE_VARIABLE, "").strip().lower() != "true":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)


def main() -> None:
    """Run the module that the command line names, as `python -m` does."""
    forbid_inspection()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
