"""`manage.py make_option_list`: the list of a SimpleTuner release's options, from its source."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from jobs.configs.list_making import options_of


class Command(BaseCommand):
    """One option a line, as docs/known-keys.md describes lists."""

    help = "Make a list of options from the source of a SimpleTuner release, without running it."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("folder", type=Path, help="the release's source: a git clone or an unpacked wheel")
        parser.add_argument("release", help="the release's version, such as 4.10.1; written beside the list")
        parser.add_argument(
            "output", type=Path, help="where the list goes, such as /etc/cloudtrain/simpletuner-options.json"
        )

    def handle(self, *args: Any, folder: Path, release: str, output: Path, **options: Any) -> None:
        if not folder.is_dir():
            raise CommandError(f"{folder} is not a folder.")
        try:
            found = options_of(folder)
        except (OSError, SyntaxError, ValueError) as error:
            raise CommandError(f"The source can't be read: {error}.") from error
        if not found:
            raise CommandError(f"No option was found in {folder}: is it the source of SimpleTuner?")
        lines = [f" {json.dumps(name)}: {json.dumps(option)}" for name, option in found.items()]
        version = output.with_suffix(".version")
        try:
            output.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
            version.write_text(f"{release}\n", encoding="utf-8")
        except OSError as error:
            raise CommandError(f"{output} can't be written: {error.strerror}.") from error
        self.stdout.write(f"{len(found)} options of SimpleTuner {release} in {output}, its version in {version}.")
