from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cloudtrain_site.conf import places
from cloudtrain_site.conf.places import BASE_DIR, default_data_dir, with_import_path


class TestInACheckout:
    def test_the_data_is_in_the_checkout_whatever_the_working_folder(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        assert default_data_dir() == BASE_DIR / "var"

    def test_a_process_finds_our_packages_first_and_those_that_it_found_before(self) -> None:
        found = with_import_path({"PYTHONPATH": "/theirs", "HOME": "/home/alice"})
        assert found == {"PYTHONPATH": f"{BASE_DIR}{os.pathsep}/theirs", "HOME": "/home/alice"}

    def test_a_process_of_a_process_has_our_folder_once(self) -> None:
        assert with_import_path(with_import_path({})) == {"PYTHONPATH": str(BASE_DIR)}

    @pytest.mark.slow
    def test_a_module_of_that_name_in_the_working_folder_is_not_ours(self, tmp_path: Path) -> None:
        (tmp_path / "jobs.py").write_text("raise SystemExit('not ours')\n")
        command = [sys.executable, "-P", "-m", "cloudtrain_site", "check"]
        done = subprocess.run(command, cwd=tmp_path, env=with_import_path(os.environ), capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (0, "System check identified no issues (0 silenced).\n")


class TestInstalled:
    @pytest.fixture(autouse=True)
    def installed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(places, "IS_INSTALLED", True)

    def test_the_data_is_in_the_working_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        assert default_data_dir() == tmp_path / "var"

    def test_what_is_installed_beside_us_is_no_business_of_a_trainers_python(self) -> None:
        assert with_import_path({"PYTHONPATH": "/theirs"}) == {"PYTHONPATH": "/theirs"}
        assert with_import_path({}) == {}
