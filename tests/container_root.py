"""What deploy/Containerfile says, done without a container engine: by bubblewrap, in roots of the system's own /usr."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.jobs.providers.local.confined import need_bubblewrap
from tests.servers import missing

ROOT = Path(__file__).resolve().parent.parent
CONTAINERFILE = ROOT / "deploy" / "Containerfile"
FOLDERS = ("dev", "etc", "home", "opt", "proc", "root", "run", "sys", "tmp", "usr", "var/lib", "var/cache", "here")
LINKS = {"bin": "usr/bin", "sbin": "usr/sbin", "lib": "usr/lib", "lib64": "usr/lib64"}
PATH = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
#: What the package index needs of the machine's /etc.
READABLE = ("/etc/ssl", "/etc/resolv.conf", "/etc/hosts", "/etc/ld.so.cache", "/etc/alternatives")


def need_what_it_needs() -> None:
    """Skip, or fail in CI, where the instructions can't be run."""
    need_bubblewrap()
    if os.getuid() != 0:
        missing("An account that may make others (root)")
    if subprocess.run(["/usr/bin/python3", "-c", "import ensurepip, venv"], capture_output=True).returncode:
        missing("python3-venv of the system")


@dataclass
class Stage:
    """One stage of the Containerfile: its root folder, and what its instructions have set by now."""

    root: Path
    environment: dict[str, str] = field(default_factory=lambda: {"PATH": PATH})
    folder: str = "/"
    user: int = 0
    volumes: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    health: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name in FOLDERS:
            (self.root / name).mkdir(parents=True)
        for name, target in LINKS.items():
            (self.root / name).symlink_to(target)
        for name in ("passwd", "group"):
            shutil.copy(f"/usr/share/base-passwd/{name}.master", self.root / "etc" / name)

    def inside(
        self,
        command: Iterable[str],
        *,
        environment: Mapping[str, str] | None = None,
        folder: str | None = None,
        places: Mapping[str, Path] | None = None,
        is_built: bool = True,
    ) -> list[str]:
        """`command` in this root: read-only as its user once it `is_built`, with a writable folder for each place."""
        words = ["bwrap", "--unshare-pid", "--as-pid-1", "--die-with-parent", "--clearenv"]
        words += ["--ro-bind" if is_built else "--bind", str(self.root), "/", "--ro-bind", "/usr", "/usr"]
        words += [word for path in READABLE for word in ("--ro-bind-try", path, path)]
        words += ["--proc", "/proc", "--dev", "/dev", "--perms", "1777", "--tmpfs", "/dev/shm"]
        words += [] if places and "/tmp" in places else ["--perms", "1777", "--tmpfs", "/tmp"]
        words += [word for place, path in (places or {}).items() for word in ("--bind", str(path), place)]
        for name, value in (self.environment if environment is None else environment).items():
            words += ["--setenv", name, value]
        words += ["--chdir", folder or self.folder]
        become = ["setpriv", f"--reuid={self.user}", f"--regid={self.user}", "--clear-groups", "--bounding-set=-all"]
        return [*words, *(become if self.user else []), *command]

    def run(self, command: str) -> None:
        """A RUN instruction: by the shell, with the package index that this machine's pip is set to."""
        index = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
        index.pop("PIP_FIND_LINKS", None)
        words = self.inside(["/bin/sh", "-c", command], environment={**self.environment, **index}, is_built=False)
        done = subprocess.run(words, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"

    def copy(self, sources: list[Path], target: str) -> None:
        place = self.root / str(Path(self.folder, target)).lstrip("/")
        for source in sources:
            if source.is_dir():
                ignored = shutil.ignore_patterns("__pycache__", "node_modules")
                copied = ignored if source.is_relative_to(ROOT) else None
                shutil.copytree(source, place, symlinks=True, ignore=copied)
            else:
                shutil.copy(source, place)


def instructions() -> list[tuple[str, str]]:
    lines = [line for line in CONTAINERFILE.read_text().splitlines() if line and not line.startswith("#")]
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines)]


def build(folder: Path) -> Stage:
    """The last stage, every instruction done. Raises ValueError for one that this doesn't know."""
    stages: dict[str, Stage] = {}
    for word, rest in instructions():
        if word == "ARG":
            continue  # the base: here it is the system
        if word == "FROM":
            name = rest.partition(" AS ")[2] or "last"
            stages[name] = Stage(folder / name)
        else:
            _do(stages[name], word, rest, stages)
    return stages["last"]


def _do(stage: Stage, word: str, rest: str, stages: Mapping[str, Stage]) -> None:
    match word:
        case "RUN":
            stage.run(rest)
        case "COPY":
            *sources, target = rest.split()
            origin = ROOT
            if sources[0].startswith("--from="):
                origin = stages[sources.pop(0).removeprefix("--from=")].root
            stage.copy([origin / source.lstrip("/") for source in sources], target)
        case "WORKDIR":
            stage.folder = rest
            (stage.root / rest.lstrip("/")).mkdir(exist_ok=True)
        case "ENV":
            key, _, value = rest.partition("=")
            stage.environment[key] = value
        case "USER":
            stage.user = int(rest)
        case "VOLUME":
            stage.volumes += json.loads(rest)
        case "CMD":
            stage.command = json.loads(rest)
        case "HEALTHCHECK":
            stage.health = json.loads(rest.partition(" CMD ")[2])
        case "EXPOSE":
            pass
        case _:
            raise ValueError(f"{word} is not known here")
