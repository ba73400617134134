"""Static files under names with a hash of their content, compressed, served by the web process itself."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
from collections.abc import Iterator, Mapping
from contextlib import closing
from operator import itemgetter
from pathlib import Path
from typing import Any

import django
from django.contrib.staticfiles.finders import get_finders
from django.contrib.staticfiles.management.commands.collectstatic import Command as CollectStatic
from django.contrib.staticfiles.storage import staticfiles_storage
from django.http import HttpRequest, HttpResponse
from whitenoise.middleware import WhiteNoiseMiddleware
from whitenoise.storage import CompressedManifestStaticFilesStorage

from cloudtrain_site.conf.data_folder import usable
from cloudtrain_site.serving import script_bundle

#: The folders whose scripts import each other. Django's own setting searches the libraries' scripts too, which takes
#: half a second more.
MODULE_FOLDERS = ("cloudtrain", "queueing", "approvals")
IMPORTS = CompressedManifestStaticFilesStorage._js_module_import_aggregation_patterns[1]


class HashedFiles(CompressedManifestStaticFilesStorage):  # type: ignore[misc]
    """Files in STATIC_ROOT, where `manage.py collectstatic` puts them for a proxy."""

    patterns = (
        *CompressedManifestStaticFilesStorage.patterns,
        *((f"{folder}/*.js", IMPORTS) for folder in MODULE_FOLDERS),
    )

    def post_process(self, paths: Any, dry_run: bool = False, **options: Any) -> Any:
        """Write each script and stylesheet of ours with what it imports, and hash them with the others."""
        if not dry_run and paths.keys() >= set(script_bundle.SHELL_MODULES):
            for name, text in list(_bundles(paths)):
                (Path(self.location) / name).write_text(text, encoding="utf-8")
                paths[name] = (self, name)
        yield from super().post_process(paths, dry_run, **options)

    def stored_name(self, name: str) -> str:
        """Return the name with a hash; of a module of the shell the shell's."""
        return str(super().stored_name(_bundle_of(name)))


class CollectedFiles(HashedFiles):
    """Files that the first process to need them collects, so that no operator has to."""

    def __init__(self, folder: Path) -> None:
        super().__init__(location=collect(folder))


class StaticFilesMiddleware(WhiteNoiseMiddleware):  # type: ignore[misc]
    """WhiteNoise with whole responses.

    Its own response is a synchronous stream, which an asynchronous server reads whole before it sends a byte, with a
    warning. Our files are small, and this runs in a thread: reading them here is the same work, once.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        collected = getattr(staticfiles_storage, "location", None)  # none while Django serves from the packages
        if collected:
            self.add_files(collected, prefix=self.static_prefix)

    @staticmethod
    def serve(static_file: Any, request: HttpRequest) -> HttpResponse:
        """Return the file, the requested part of it, or a 304."""
        static_response = static_file.get_response(request.method, request.META)
        body = b""
        if static_response.file is not None:
            with closing(static_response.file):
                body = static_response.file.read()
        response = HttpResponse(body, status=int(static_response.status))
        del response["Content-Type"]
        for name, value in static_response.headers:
            response[name] = value
        return response


def _bundles(paths: Mapping[str, tuple[Any, str]]) -> Iterator[tuple[str, str]]:
    def read(name: str) -> str:
        storage, path = paths[name]
        with storage.open(path) as file:
            return str(file.read().decode())

    yield script_bundle.SHELL, script_bundle.shell(read)
    for name in paths:
        if not name.startswith(tuple(f"{folder}/" for folder in MODULE_FOLDERS)) or "/vendor/" in name:
            continue
        if name.endswith(".css"):
            yield name, script_bundle.stylesheet(name, read)
        elif name.endswith(".js") and name not in script_bundle.SHELL_MODULES:
            yield name, script_bundle.page_script(name, read)


def _bundle_of(name: str) -> str:
    return script_bundle.SHELL if name in script_bundle.SHELL_MODULES else name


def collect(folder: Path) -> Path:
    """Return the folder within `folder` that holds the present files; it is made when there is none.

    Of several processes that start at once the first makes it, and the others wait. Raises ConfigurationError when
    `folder` can't be used.
    """
    current = folder / _fingerprint()
    with usable(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not current.exists():
                _make(current)
            current.touch()
            _drop_older(current)
    return current


def _fingerprint() -> str:
    """Return a name that changes with the files and with this module."""
    digest = hashlib.blake2b(django.__version__.encode(), digest_size=10)
    digest.update(Path(__file__).read_bytes() + Path(script_bundle.__file__).read_bytes())
    for finder in get_finders():
        for name, storage in sorted(finder.list(None), key=itemgetter(0)):
            content = Path(storage.path(name)).read_bytes()
            digest.update(f"{name} {len(content)} ".encode())
            digest.update(content)
    return digest.hexdigest()


def _make(current: Path) -> None:
    """Collect beside `current` and then rename: a process that is killed meanwhile leaves nothing under its name."""
    draft = current.with_name("draft")
    shutil.rmtree(draft, ignore_errors=True)
    command = CollectStatic()
    command.storage = HashedFiles(location=draft)
    command.set_options(
        interactive=False,
        verbosity=0,
        link=False,
        clear=False,
        dry_run=False,
        ignore_patterns=[],
        use_default_ignore_patterns=True,
        post_process=True,
    )
    command.collect()
    draft.rename(current)


def _drop_older(current: Path) -> None:
    """Delete all but `current` and the one used before: a process of the former version may still serve that."""
    others = [path for path in current.parent.iterdir() if path.is_dir() and path != current]
    for path in sorted(others, key=lambda other: other.stat().st_mtime)[:-1]:
        shutil.rmtree(path, ignore_errors=True)
