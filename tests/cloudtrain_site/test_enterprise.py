"""The enterprise file: what it sets, and the sentence for each way to get it wrong."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cloudtrain_site import checks
from cloudtrain_site.conf.environment import ConfigurationError
from cloudtrain_site.enterprise import (
    SAMPLE_TRAINER,
    EnterpriseConfig,
    config_in_force,
    find_enterprise_file,
    get_enterprise_config,
    one_configuration,
)
from tests.cloudtrain_site.conftest import ROOT, Lines
from tests.configuration import WriteConfig

Write = WriteConfig

POLLING = "background:\n  job_status_polling:\n    "
QUEUE = "background:\n  queue_processing:\n    "
LOCAL = "providers:\n  local:\n    "
SECONDS = "it must be a whole number of seconds from 1 to 86400"


@pytest.fixture
def write(write_config: WriteConfig) -> WriteConfig:
    return write_config


def refusal(write: Write, text: str) -> str:
    """The sentence for a file of this text, without its path."""
    path = write(text)
    with pytest.raises(ConfigurationError) as caught:
        get_enterprise_config()
    sentence = str(caught.value)
    assert sentence.startswith(f"{path}, ")
    return sentence.removeprefix(f"{path}, ")


class TestValues:
    """What it sets."""

    @pytest.mark.parametrize(
        "text", ["", "# nothing\n", "background:\n", "---\n", "background:\n  queue_processing:\n"]
    )
    def test_an_empty_file_means_the_defaults(self, write: Write, text: str) -> None:
        path = write(text)
        assert get_enterprise_config() == EnterpriseConfig(path=path)

    def test_the_defaults_are_the_documents(self) -> None:
        config = EnterpriseConfig()
        assert (config.job_polling_enabled, config.job_polling_explicit) == (False, None)
        assert (config.job_polling_interval, config.queue_interval) == (30, 5)
        assert (config.local.command, config.local.max_running, config.local.grace_seconds) == (SAMPLE_TRAINER, 1, 10)

    def test_the_documents_example_is_read(self, write: Write) -> None:
        write(f"{POLLING}enabled: true\n    interval_seconds: 45\n  queue_processing:\n    interval_seconds: 7\n")
        config = get_enterprise_config()
        assert config.job_polling_enabled
        assert (config.job_polling_interval, config.queue_interval) == (45, 7)

    def test_our_own_example_says_the_defaults(self, monkeypatch: pytest.MonkeyPatch, write: Write) -> None:
        write((ROOT / "simpletuner-enterprise.example.yaml").read_text())
        config = get_enterprise_config()
        assert (config.job_polling_explicit, config.job_polling_interval, config.queue_interval) == (None, 30, 5)
        assert config.providers == EnterpriseConfig().providers
        assert config.instances == {}

    def test_our_own_examples_of_declared_providers_are_read(
        self, monkeypatch: pytest.MonkeyPatch, write: Write
    ) -> None:
        for name in ("REPLICATE_LAB_TOKEN", "RAY_STUDIO_TOKEN"):
            monkeypatch.setenv(name, "not-a-real-one")
        example = (ROOT / "simpletuner-enterprise.example.yaml").read_text()
        write(re.sub(r"^  #(?=\S|  )", "  ", example, flags=re.MULTILINE))
        instances = get_enterprise_config().instances
        assert {name: one.kind for name, one in instances.items()} == {
            "replicate-lab": "replicate",
            "ray-studio": "ray",
            "slurm-lab": "slurm",
        }

    def test_the_guides_example_of_a_second_account_is_read(
        self, monkeypatch: pytest.MonkeyPatch, write: Write
    ) -> None:
        monkeypatch.setenv("REPLICATE_LAB_TOKEN", "not-a-real-one")
        (example,) = re.findall(r"```yaml\n(providers:\n.*?)```", (ROOT / "docs/providers.md").read_text(), re.DOTALL)
        write(example)
        assert list(get_enterprise_config().instances) == ["replicate-lab"]

    def test_the_local_provider_is_set(self, write: Write) -> None:
        write(
            f'{LOCAL}command: ["train", "{{config}}", "$${{LITERAL}}", 3]\n    max_running: 2\n    grace_seconds: 0\n'
        )
        local = get_enterprise_config().providers.local
        assert local.command == ("train", "{config}", "${LITERAL}", "3")
        assert (local.max_running, local.grace_seconds) == (2, 0)

    def test_variables_are_filled_in_and_keep_their_meaning(
        self, write: Write, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MY_INTERVAL", "60")
        monkeypatch.setenv("MY_TRAINER", "/opt/train: [not, yaml]")
        write(f'{POLLING}interval_seconds: ${{MY_INTERVAL}}\n{LOCAL}command: ["${{MY_TRAINER}}", "{{config}}"]\n')
        config = get_enterprise_config()
        assert config.job_polling_interval == 60
        assert config.local.command == ("/opt/train: [not, yaml]", "{config}")

    def test_where_each_value_came_from_is_kept(self, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
        path = write(f"{POLLING}enabled: false\n    interval_seconds: 45\n")
        monkeypatch.setenv("SIMPLETUNER_JOB_POLL_INTERVAL", "60")
        assert get_enterprise_config().sources == {
            "background.job_status_polling.enabled": f"{path}:3",
            "background.job_status_polling.interval_seconds": "environment SIMPLETUNER_JOB_POLL_INTERVAL",
        }

    def test_the_environments_interval_wins_over_the_file(self, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
        write(f"{POLLING}interval_seconds: 45\n")
        monkeypatch.setenv("SIMPLETUNER_JOB_POLL_INTERVAL", "60")
        assert get_enterprise_config().job_polling_interval == 60

    def test_the_queue_cannot_be_disabled_and_that_is_said_once(self, write: Write, log_lines: Lines) -> None:
        path = write(f"{QUEUE}enabled: false\n")
        get_enterprise_config()
        write(f"{QUEUE}enabled: false\n")
        get_enterprise_config()
        (line,) = log_lines()
        assert line["level"] == "WARNING"
        assert f"enabled is false in {path}:3, but the queue is always processed" in line["message"]


class TestChanges:
    """A change is noticed, and nothing else costs a reading."""

    def test_an_unchanged_file_is_not_read_again(self, write: Write) -> None:
        write(f"{POLLING}interval_seconds: 45\n")
        assert get_enterprise_config() is get_enterprise_config()

    def test_a_changed_file_is_read_again(self, write: Write) -> None:
        write(f"{POLLING}interval_seconds: 45\n")
        get_enterprise_config()
        write(f"{POLLING}interval_seconds: 46\n")
        assert get_enterprise_config().job_polling_interval == 46

    def test_a_file_of_this_moment_is_not_trusted_to_stay(self, write: Write) -> None:
        path = write("")
        path.write_text(f"{POLLING}interval_seconds: 45\n")
        assert get_enterprise_config().job_polling_interval == 45
        path.write_text(f"{POLLING}interval_seconds: 46\n")
        assert get_enterprise_config().job_polling_interval == 46

    def test_a_changed_variable_is_noticed(self, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MY_INTERVAL", "60")
        write(f"{POLLING}interval_seconds: ${{MY_INTERVAL}}\n")
        get_enterprise_config()
        monkeypatch.setenv("MY_INTERVAL", "61")
        assert get_enterprise_config().job_polling_interval == 61

    def test_a_mended_file_is_taken(self, write: Write) -> None:
        refusal(write, f"{POLLING}interval_seconds: -5\n")
        write(f"{POLLING}interval_seconds: 5\n")
        assert get_enterprise_config().job_polling_interval == 5


class TestPlaces:
    """Where it is looked for."""

    @pytest.fixture
    def home(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.delenv("SIMPLETUNER_ENTERPRISE_CONFIG", raising=False)
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        work = tmp_path / "work"
        work.mkdir()
        monkeypatch.chdir(work)
        return tmp_path / "home"

    def test_there_need_be_none(self, home: Path) -> None:
        assert find_enterprise_file() is None
        assert get_enterprise_config() == EnterpriseConfig()

    def test_the_working_folder_comes_before_the_home_folder(self, home: Path) -> None:
        at_home = home / ".config" / "simpletuner" / "enterprise.yaml"
        at_home.parent.mkdir(parents=True)
        at_home.touch()
        assert find_enterprise_file() == at_home
        Path("simpletuner-enterprise.yaml").touch()
        assert find_enterprise_file() == Path("simpletuner-enterprise.yaml").absolute()

    def test_the_named_one_comes_first(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        Path("simpletuner-enterprise.yaml").touch()
        Path("other.yaml").touch()
        monkeypatch.setenv("SIMPLETUNER_ENTERPRISE_CONFIG", "other.yaml")
        assert find_enterprise_file() == Path("other.yaml").absolute()

    @pytest.mark.parametrize("name", ["missing.yaml", "."])
    def test_a_named_one_must_be_there(self, home: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        monkeypatch.setenv("SIMPLETUNER_ENTERPRISE_CONFIG", name)
        with pytest.raises(ConfigurationError, match=r"is not a file\. Create it, or unset it"):
            get_enterprise_config()


class TestBadInput:
    """Each a sentence that names the line and the key and says what to do."""

    @pytest.mark.parametrize(
        ("written", "shown"),
        [
            *[(value, value) for value in ("-5", "0", "86401", "1e9", "30.5", "010", "0x10", "1_000", "abc", "1:30")],
            *[("99999999999999999999999", "99999999999999999999999"), ("true", "true"), ("2024-01-15", "2024-01-15")],
        ],
    )
    def test_an_interval_that_is_none(self, write: Write, written: str, shown: str) -> None:
        key = "`background.job_status_polling.interval_seconds`"
        assert refusal(write, f"{POLLING}interval_seconds: {written}\n") == f"line 3: {key} is {shown}, but {SECONDS}."

    @pytest.mark.parametrize(
        ("text", "sentence"),
        [
            (f'{POLLING}interval_seconds: "30"\n', rf'interval_seconds` is "30", but {SECONDS}, without quotes\.'),
            (f"{POLLING}interval_seconds:\n", rf"line 3: .*interval_seconds` has no value; {SECONDS}"),
            (f"{POLLING}interval_seconds: [1]\n", r"interval_seconds` is a list, but it must be"),
            (f"{POLLING}interval_seconds: {{a: 1}}\n", r"interval_seconds` is a section of keys, but it must be"),
            (f"{POLLING}interval_seconds: !env X\n", r"interval_seconds` has the tag !env, which is not supported"),
            (f"{QUEUE}interval_seconds: 61\n", r"line 3: .*is 61, but it must be .* from 1 to 60\."),
            (f"{POLLING}enabled: maybe\n", r"line 3: .*enabled` is maybe, but it must be true or false\."),
            (f'{POLLING}enabled: "true"\n', r"must be true or false, without quotes\."),
            (f"{POLLING}intervall_seconds: 3\n", r"line 3: unknown key .*intervall_.*; did you mean .*\.interval_s"),
            (f"{POLLING}zzz: 3\n", r"unknown key .*zzz`; allowed here: `enabled`, `interval_seconds`\."),
            ("- background\n", r"line 1: the file must hold `background`, `providers`.*, not a list\."),
            ("background\n", r"line 1: the file must hold .*, not the value background\."),
            ("background: 3\n", r"line 1: `background` must hold `job_status_polling`, .*, not the value 3\."),
            (
                "background:\n\tqueue_processing:\n",
                r"line 2: a tab is used where only spaces are allowed; indent with spaces\.",
            ),
            ("background:\nproviders:\nbackground:\n", r"line 3: `background` is repeated; line 1 has it"),
            ("background: 'open\n", r"line 2: this YAML is not supported: "),
            ("a: 1\n---\nb: 2\n", r"line 2: this YAML is not supported: found another document"),
            ("background: \x07\n", r"line 1: there is a control character; remove it\."),
            ("background: &a {}\nproviders: *a\n", r"line 1: .*anchors and aliases are not allowed\."),
            ("[" * 3000, r"line 1: .*nested too deep\."),
            (f"{LOCAL}command: [{{python}}, -m]\n", r"line 3: .*command` must be a list of texts.*in quotes\."),
            (f'{LOCAL}command: ["train", "{{confg}}"]\n', r'is "train", "{confg}", but .*no placeholder but {python}'),
            (f"{LOCAL}command: []\n", r"command` is empty, but it must be a list of texts, first the program"),
            (f"{LOCAL}command: train it\n", r"command` is the value train it, but it must be a list"),
        ],
    )
    def test_a_file_that_is_wrong(self, write: Write, text: str, sentence: str) -> None:
        assert re.search(sentence, refusal(write, text))

    def test_an_anchor_bomb_costs_nothing(self, write: Write) -> None:
        levels = [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]" for n in range(1, 30)]
        assert "anchors and aliases are not allowed" in refusal(write, "\n".join(["l0: &l0 [x]", *levels]))

    def test_an_unset_variable(self, write: Write) -> None:
        sentence = "line 3: `background.job_status_polling.interval_seconds` needs the environment variable NO_SUCH"
        assert refusal(write, f"{POLLING}interval_seconds: ${{NO_SUCH}}\n") == f"{sentence}, which is not set; set it."

    @pytest.mark.parametrize("variable", ["${A:-3}", "${}", "${1A}", "${A"])
    def test_a_variable_that_is_not_written_as_one(self, write: Write, variable: str) -> None:
        assert f"has {variable}, but a variable is written ${{NAME}}" in refusal(
            write, f"{POLLING}interval_seconds: '{variable}'\n"
        )

    def test_a_variables_value_is_not_shown(self, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MY_SECRET", "MARK")
        sentence = refusal(write, f"{POLLING}interval_seconds: ${{MY_SECRET}}\n")
        assert "is ${MY_SECRET}, but" in sentence
        assert "MARK" not in sentence

    def test_a_file_that_is_no_text(self, write: Write) -> None:
        write("").write_bytes(b"background:\n  \xff\n")
        with pytest.raises(ConfigurationError, match="line 2: there is a byte that is not UTF-8; save"):
            get_enterprise_config()

    def test_a_huge_file(self, write: Write) -> None:
        write("# " + "x" * 300_000)
        with pytest.raises(ConfigurationError, match="is larger than 256 KB"):
            get_enterprise_config()

    @pytest.mark.parametrize("value", ["abc", "-5", "0", "1e9", "30.5", "86401"])
    def test_an_interval_of_the_environment_that_is_none(
        self, write: Write, monkeypatch: pytest.MonkeyPatch, value: str
    ) -> None:
        write("")
        monkeypatch.setenv("SIMPLETUNER_JOB_POLL_INTERVAL", value)
        with pytest.raises(ConfigurationError, match=f"SIMPLETUNER_JOB_POLL_INTERVAL is '{value}', but {SECONDS}"):
            get_enterprise_config()


class TestInForce:
    """What a site that runs goes by."""

    def test_a_slip_leaves_the_one_before_in_force_and_is_said_once(self, write: Write, log_lines: Lines) -> None:
        write(f"{LOCAL}max_running: 3\n")
        assert config_in_force().local.max_running == 3
        path = write(f"{LOCAL}max_running: many\n")
        assert [config_in_force().local.max_running for _ in range(3)] == [3, 3, 3]
        (line,) = log_lines()
        assert (line["level"], line["logger"]) == ("ERROR", "simpletuner.cloud.background")
        assert line["extra"]["reason"].startswith(f"{path}, line 3: `providers.local.max_running` is many, but it must")

    def test_what_is_mended_is_in_force_and_the_next_slip_is_said_again(self, write: Write, log_lines: Lines) -> None:
        for number in (3, 4):
            write(f"{LOCAL}max_running: {number}\n")
            assert config_in_force().local.max_running == number
            write(f"{LOCAL}max_running: many\n")
            assert config_in_force().local.max_running == number
        assert len(log_lines()) == 2

    def test_a_request_is_decided_by_one_look_at_the_file(self, write: Write) -> None:
        write(f"{LOCAL}max_running: 3\n")
        with one_configuration():
            write(f"{LOCAL}max_running: 4\n")  # nobody has asked yet
            assert config_in_force().local.max_running == 4
            write(f"{LOCAL}max_running: 5\n")
            assert config_in_force().local.max_running == 4
            with ThreadPoolExecutor() as others:
                assert others.submit(config_in_force).result().local.max_running == 5
        assert config_in_force().local.max_running == 5

    def test_an_error_is_not_what_a_request_keeps(self, write: Write) -> None:
        with pytest.raises(ConfigurationError), one_configuration():
            write("background: [")
            config_in_force()
        write(f"{LOCAL}max_running: 3\n")
        assert config_in_force().local.max_running == 3

    def test_a_file_that_was_never_good_is_refused(self, write: Write) -> None:
        write(f"{LOCAL}max_running: many\n")
        with pytest.raises(ConfigurationError, match="line 3"):
            config_in_force()


class TestChecks:
    """`manage.py check` covers it."""

    def test_a_good_file_passes(self, write: Write) -> None:
        write(f"{QUEUE}interval_seconds: 5\n")
        assert checks.check_enterprise_file() == []

    def test_an_empty_file_is_a_warning(self, write: Write) -> None:
        write("")
        (message,) = checks.check_enterprise_file()
        assert message.id == "cloudtrain.W002"
        assert message.msg.endswith(" is empty: the defaults are in force.")

    def test_a_bad_file_is_an_error_with_its_sentence(self, write: Write) -> None:
        sentence = refusal(write, f"{POLLING}interval_seconds: -5\n")
        (message,) = checks.check_enterprise_file()
        assert message.id == "cloudtrain.E001"
        assert message.msg.endswith(sentence)

    def test_a_queue_that_should_be_off_is_a_warning(self, write: Write) -> None:
        write(f"{QUEUE}enabled: false\n")
        assert [message.id for message in checks.check_enterprise_file()] == ["cloudtrain.W001"]

    def test_a_word_that_is_no_boolean_is_an_error(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DEBUG", "maybe")
        assert [message.msg for message in checks.check_booleans()] == [
            "DEBUG is 'maybe', but it must be true or false."
        ]

    def test_a_data_folder_that_is_a_file_is_an_error(self, tmp_path: Path, settings: object) -> None:
        (tmp_path / "file").touch()
        settings.DATA_DIR = tmp_path / "file"  # type: ignore[attr-defined]
        assert [message.id for message in checks.check_data_folder()] == ["cloudtrain.E003"]

    @pytest.mark.parametrize(
        ("url", "found"),
        [
            *(("", []), ("http://127.0.0.1:8002", []), ("https://api.replicate.com/", [])),
            *((url, ["cloudtrain.E004"]) for url in ("api.replicate.com", "ftp://host", "https://", "http://h:port")),
        ],
    )
    def test_an_address_of_replicate_that_is_none_is_an_error(
        self, monkeypatch: pytest.MonkeyPatch, url: str, found: list[str]
    ) -> None:
        monkeypatch.setenv("REPLICATE_BASE_URL", url)
        assert [message.id for message in checks.check_replicate_address()] == found
