"""The providers that the file declares: what comes of it, and the sentence for each way to get it wrong."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path

import pytest

from cloudtrain_site import checks
from cloudtrain_site.conf.environment import ConfigurationError
from cloudtrain_site.conf.providers import HardwareProfile, RayInstance, ReplicateInstance, Secret, SlurmInstance
from cloudtrain_site.enterprise import EnterpriseConfig, get_enterprise_config
from cloudtrain_site.redaction import MASK, mask_text
from tests.configuration import WriteConfig

RAY = """
  ray-studio:
    kind: ray
    label: The studio's Ray
    address: http://10.0.0.5:8265/
    token: ${RAY_STUDIO_TOKEN}
    command: ["{python}", "train.py", "--config", "{config}"]
    python: /opt/venv/bin/python
    shared_folder: /mnt/shared/cloudtrain
    grace_seconds: 60
    max_running: 4
    hardware:
      small: {}
      h100:
        {gpus: 1, cpus: 8, memory_mb: 64000, resources: {h100: 1, "accelerator_type:H100": 0.001}, cost_per_second: 0}
"""
SLURM = """
  slurm-lab:
    kind: slurm
    address: https://slurm.example.org:6820
    user: trainer
    key_file: /etc/cloudtrain/jwt_hs256.key
    shared_folder: /mnt/shared
    account: vision
    qos: long
    command: [train]
    hardware:
      2x h100-x8:
        {nodes: 2, gpus: 8, gpu_type: h100, partition: "gpu,big", time_limit_minutes: 1440, cost_per_second: 0.0115}
"""
REPLICATE = """
  replicate-lab:
    kind: replicate
    token_file: /run/secrets/replicate
"""
SECRET = "t0p-secret-value"


@pytest.fixture(autouse=True)
def variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_STUDIO_TOKEN", SECRET)


def read(write_config: WriteConfig, providers: str) -> EnterpriseConfig:
    write_config(f"providers:{providers}")
    return get_enterprise_config()


def refusal(write_config: WriteConfig, providers: str) -> str:
    """The sentence for a file with this in its `providers:`, without its path."""
    path = write_config(f"providers:{providers}")
    with pytest.raises(ConfigurationError) as caught:
        get_enterprise_config()
    return str(caught.value).removeprefix(f"{path}, ")


class TestValues:
    """What comes of it."""

    def test_a_ray_cluster(self, write_config: WriteConfig) -> None:
        h100 = HardwareProfile(
            *("h100", 1, 1),
            cpus=8,
            memory_mb=64000,
            resources={"h100": 1.0, "accelerator_type:H100": 0.001},
            cost_per_second=Decimal(0),
        )
        assert read(write_config, RAY).instances["ray-studio"] == RayInstance(
            name="ray-studio",
            label="The studio's Ray",
            address="http://10.0.0.5:8265",
            token=Secret(SECRET),
            command=("{python}", "train.py", "--config", "{config}"),
            hardware={"small": HardwareProfile("small"), "h100": h100},
            python="/opt/venv/bin/python",
            shared_folder=Path("/mnt/shared/cloudtrain"),
            grace_seconds=60,
            max_running=4,
        )

    def test_a_slurm_cluster(self, write_config: WriteConfig) -> None:
        profile = HardwareProfile(
            *("2x h100-x8", 2, 8, "h100"),
            partition="gpu,big",
            time_limit_minutes=1440,
            cost_per_second=Decimal("0.0115"),
        )
        assert read(write_config, SLURM).instances["slurm-lab"] == SlurmInstance(
            name="slurm-lab",
            label="slurm-lab",
            address="https://slurm.example.org:6820",
            token=Secret(),
            command=("train",),
            hardware={"2x h100-x8": profile},
            shared_folder=Path("/mnt/shared"),
            user="trainer",
            key=Secret(file=Path("/etc/cloudtrain/jwt_hs256.key")),
            account="vision",
            qos="long",
        )

    def test_an_account_at_replicate(self, write_config: WriteConfig) -> None:
        instance = ReplicateInstance("replicate-lab", "replicate-lab", Secret(file=Path("/run/secrets/replicate")))
        assert read(write_config, REPLICATE).instances == {"replicate-lab": instance}

    def test_the_prices_of_an_account_at_replicate(self, write_config: WriteConfig) -> None:
        config = read(write_config, f"{REPLICATE}    cost_per_second: {{h100: 0.0015, h100-x2: 0.003}}\n")
        prices = config.instances["replicate-lab"].prices
        assert prices == {"h100": Decimal("0.0015"), "h100-x2": Decimal("0.003")}

    def test_the_order_of_the_file_is_kept(self, write_config: WriteConfig) -> None:
        profiles = "\n".join(f"      p{number}: {{}}" for number in (9, 3, 7, 1))
        config = read(write_config, f"{SLURM}{profiles}{REPLICATE}{RAY}")
        slurm = config.instances["slurm-lab"]
        assert list(config.instances) == ["slurm-lab", "replicate-lab", "ray-studio"]
        assert isinstance(slurm, SlurmInstance)
        assert list(slurm.hardware) == ["2x h100-x8", "p9", "p3", "p7", "p1"]

    def test_they_stand_beside_this_machine(self, write_config: WriteConfig) -> None:
        config = read(write_config, f"\n  local:\n    max_running: 3{REPLICATE}")
        assert (config.local.max_running, list(config.instances)) == (3, ["replicate-lab"])

    def test_a_price_that_is_not_given_is_not_known(self, write_config: WriteConfig) -> None:
        ray = read(write_config, RAY).instances["ray-studio"]
        assert isinstance(ray, RayInstance)
        assert [profile.cost_per_second for profile in ray.hardware.values()] == [None, Decimal(0)]

    def test_where_each_value_came_from_is_kept(self, write_config: WriteConfig) -> None:
        config = read(write_config, SLURM)
        path = config.path
        assert config.sources["providers.slurm-lab"] == f"{path}:2"
        assert config.sources["providers.slurm-lab.user"] == f"{path}:5"
        assert config.sources["providers.slurm-lab.hardware.2x h100-x8.gpus"] == f"{path}:13"

    def test_a_variable_that_changes_is_noticed(
        self, write_config: WriteConfig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert read(write_config, RAY).instances["ray-studio"].token.read() == SECRET
        monkeypatch.setenv("RAY_STUDIO_TOKEN", "another-secret")
        assert get_enterprise_config().instances["ray-studio"].token.read() == "another-secret"


class TestSecrets:
    """They come from a variable or a file, and are shown nowhere."""

    def test_the_variables_that_hold_one_are_known(self, write_config: WriteConfig) -> None:
        folder = RAY.replace("/mnt/shared/cloudtrain", "${FOLDER}")
        with pytest.raises(ConfigurationError, match="FOLDER, which is not set"):
            read(write_config, folder)
        assert read(write_config, RAY).secret_variables == {"RAY_STUDIO_TOKEN"}

    def test_one_is_in_no_representation_and_is_masked_in_every_text(self, write_config: WriteConfig) -> None:
        config = read(write_config, RAY)
        assert SECRET not in repr(config)
        assert mask_text(f"Ray says {SECRET}!") == f"Ray says {MASK}!"

    def test_a_file_is_read_at_each_use_and_masked_from_then_on(
        self, write_config: WriteConfig, tmp_path: Path
    ) -> None:
        file = tmp_path / "token"
        token = (
            read(write_config, REPLICATE.replace("/run/secrets/replicate", str(file))).instances["replicate-lab"].token
        )
        for value in ("first-of-the-file", "second-of-the-file"):
            file.write_text(f"{value}\n")
            assert token.read() == value
            assert mask_text(f"It is {value}.") == f"It is {MASK}."

    @pytest.mark.parametrize(
        "content", [b"first-line\nsecond-line", b"two words", b"\xff\xfe\x00", "schlüssel".encode()]
    )
    def test_a_file_that_holds_no_token_is_named_and_not_repeated(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "token").write_bytes(content)
        with pytest.raises(ConfigurationError) as caught:
            Secret(file=tmp_path / "token").read()
        sentence = f"{tmp_path}/token holds no token: that is one word of letters, digits and signs."
        assert str(caught.value) == sentence

    def test_a_file_that_can_not_be_read_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigurationError, match=rf"{tmp_path}/token can't be read: No such file"):
            Secret(file=tmp_path / "token").read()

    @pytest.mark.parametrize(
        "written",
        [
            *("r8_abcdefgh12345678", '"plain-words"', "x${RAY_STUDIO_TOKEN}", "${RAY_STUDIO_TOKEN}${RAY_STUDIO_TOKEN}"),
            *("$${RAY_STUDIO_TOKEN}", "abc${defg", "12345678", "a@b"),
        ],
    )
    def test_one_in_clear_is_refused_and_not_repeated(self, write_config: WriteConfig, written: str) -> None:
        sentence = refusal(write_config, RAY.replace("${RAY_STUDIO_TOKEN}", written))
        assert sentence == (
            "line 6: `providers.ray-studio.token` is written in clear, but it must be ${NAME}, where the environment "
            "variable NAME has the secret, one word; or name its file as `token_file`."
        )

    @pytest.mark.parametrize("value", [" ", "two words", "two\nlines", "schlüssel"])
    def test_a_variable_that_holds_no_token_is_refused(
        self, write_config: WriteConfig, monkeypatch: pytest.MonkeyPatch, value: str
    ) -> None:
        monkeypatch.setenv("NOTHING", value)
        sentence = refusal(write_config, RAY.replace("RAY_STUDIO_TOKEN", "NOTHING"))
        assert sentence.startswith("line 6: `providers.ray-studio.token` is ${NOTHING}, but it must be ${NAME}, where")

    @pytest.mark.parametrize(
        "given",
        ["http://bob:hunter2@ray:8265", "bob:hunter2@ray:8265", "http://bob:hun/ter2@ray:8265", "ray token=hunter2"],
    )
    def test_a_password_in_an_address_is_refused_and_not_repeated(self, write_config: WriteConfig, given: str) -> None:
        sentence = refusal(write_config, RAY.replace("http://10.0.0.5:8265/", given))
        assert "ter2" not in sentence
        assert "without a path, user or password" in sentence


class TestBadInput:
    """Each a sentence that names the line and the key and says what to do."""

    @pytest.mark.parametrize(
        ("text", "sentence"),
        [
            (
                "\n  lab:\n    kind: slrum\n",
                r"line 3: `providers\.lab\.kind` is slrum, .* `slurm`; did you mean `slurm`\?$",
            ),
            (
                "\n  lab:\n    kind: pbs\n",
                r"line 3: .*kind` is pbs, but it must be one of `replicate`, `ray`, `slurm`\.$",
            ),
            ("\n  lab:\n    kind: local\n", r"line 3: .*kind` is local, but it must be one of `replicate`, `ray`"),
            ("\n  lab:\n    kind:\n", r"line 3: `providers\.lab\.kind` has no value; it must be one of"),
            (
                "\n  lab:\n",
                r"line 2: `providers\.lab\.kind` is missing: it must be one of `replicate`, `ray`, `slurm`\.$",
            ),
            ("\n  lab:\n    address: http://h\n", r"`providers\.lab\.kind` is missing"),
            (
                "\n  locale:\n    max_running: 3\n",
                r"`providers\.locale\.kind` is missing.*; did you mean `providers\.local`\?$",
            ),
            (
                "\n  lab: ray\n",
                r"line 2: `providers\.lab` must hold `kind` and the keys of that kind.*, not the value ray",
            ),
            ("\n  - lab\n", r"line 2: `providers` must hold `local`, names of your choice.*, not a list"),
            (
                "\n  Lab:\n    kind: ray\n",
                r"line 2: `providers\.Lab` is no name that may stand here; allowed are names of",
            ),
            ("\n  my lab:\n    kind: ray\n", r"`providers\.my lab` is no name that may stand here"),
            (f"\n  {'x' * 41}:\n    kind: ray\n", r"`providers\.x{40}x` is no name that may stand here; .*at most 40"),
            (
                "\n  replicate:\n    kind: replicate\n",
                r"line 2: `providers\.replicate` can't be chosen: .*REPLICATE_API_TOKEN",
            ),
            (
                f"{REPLICATE}    cost_per_second: {{h100: x}}\n",
                r"line 5: .*cost_per_second\.h100` is x, .* a number of US",
            ),
            (REPLICATE * 2, r"line 6: `providers\.replicate-lab` is given a second time; line 2 has it too"),
            (
                "\n  lab:\n    kind: replicate\n",
                r"line 2: `providers\.lab` has none of `token`, `token_file`; it needs one",
            ),
        ],
    )
    def test_of_an_instance(self, write_config: WriteConfig, text: str, sentence: str) -> None:
        assert re.search(sentence, refusal(write_config, text))

    @pytest.mark.parametrize(
        ("kind", "old", "new", "sentence"),
        [
            (
                RAY,
                "address: http://10.0.0.5:8265/",
                "# no",
                r"line 3: `providers\.ray-studio\.address` is missing: it must be http",
            ),
            (RAY, "command: [", "python: [", r"is given a second time|python` is a list"),
            (
                RAY,
                "    python: /",
                "    pyhton: /",
                r"unknown key `providers\.ray-studio\.pyhton`; did you mean `providers\.ray-studio\.python`\?$",
            ),
            (
                RAY,
                "{config}",
                "{confg}",
                r"command` is .*{confg}\", but it must be a list of texts.*no placeholder but",
            ),
            (RAY, "label: The", "user: the", r"unknown key `providers\.ray-studio\.user`"),
            (
                RAY,
                "gpus: 1",
                "gpu: 1",
                r"line 15: unknown key `providers\.ray-studio\.hardware\.h100\.gpu`; did you mean .*gpus`",
            ),
            (RAY, "gpus: 1", "partition: gpu", r"unknown key `providers\.ray-studio\.hardware\.h100\.partition`"),
            (RAY, "gpus: 1", "gpus: -1", r"h100\.gpus` is -1, but it must be a whole number from 0 to 1024"),
            (
                RAY,
                "cost_per_second: 0",
                "cost_per_second: free",
                r"cost_per_second` is free, but it must be a number of US dollars from 0 to 1000",
            ),
            (RAY, "cost_per_second: 0", "cost_per_second: -1", r"is -1, but it must be a number of US dollars from 0"),
            (RAY, "cost_per_second: 0", "cost_per_second: .nan", r"is \.nan, but it must be a number"),
            (
                RAY,
                "cost_per_second: 0",
                'cost_per_second: "1"',
                r'is "1", but it must be a number .*, without quotes\.$',
            ),
            (RAY, "h100: 1,", "h100: many,", r"h100\.resources\.h100` is many, but it must be a number"),
            (
                RAY,
                "shared_folder: /mnt",
                "shared_folder: mnt",
                r"shared_folder` is mnt.*, but it must be the absolute path of a folder",
            ),
            (RAY, "label: The studio's Ray", 'label: ""', r"label` is \"\", but it must be a text of at most 80"),
            (
                RAY,
                "10.0.0.5:8265/",
                "10.0.0.5:8265/api",
                r"address` is http://10\.0\.0\.5:8265/api, but it must be .* without a path",
            ),
            (
                RAY,
                "http://10.0.0.5:8265/",
                "10.0.0.5:8265",
                r"address` is 10\.0\.0\.5:8265, but it must be http:// or https://",
            ),
            (RAY, "10.0.0.5:8265/", "10.0.0.5:0", r"address` is http://10\.0\.0\.5:0, but"),
            (RAY, "10.0.0.5:8265/", "10.0.0.5:port", r"address` is http://10\.0\.0\.5:port, but"),
            (
                RAY,
                "grace_seconds",
                "token_file: /x\n    grace_seconds",
                r"line 10: .* has `token` and `token_file`; keep one of them\.$",
            ),
            (
                SLURM,
                "shared_folder",
                "# ",
                r"`providers\.slurm-lab\.shared_folder` is missing: it must be the absolute path",
            ),
            (
                SLURM,
                "user: trainer",
                "",
                r"`providers\.slurm-lab\.user` is missing: it must be an account at the cluster",
            ),
            (
                SLURM,
                "key_file: /etc",
                "# /",
                r"line 2: `providers\.slurm-lab` has none of `token`, `token_file`, `key_file`",
            ),
            (SLURM, "user: trainer", "user: tr ainer", r"user` is tr ainer, but it must be an account at the cluster"),
            (
                SLURM,
                "2x h100-x8:",
                "'2x  h100':",
                r"`providers\.slurm-lab\.hardware\.2x  h100` is no name that may stand here",
            ),
            (SLURM, "nodes: 2", "nodes: 0", r"nodes` is 0, but it must be a whole number from 1 to 10000"),
            (SLURM, '"gpu,big"', "gpu;rm", r"partition` is gpu;rm, but it must be a partition, or some with commas"),
        ],
    )
    def test_of_a_key(self, write_config: WriteConfig, kind: str, old: str, new: str, sentence: str) -> None:
        assert old in kind
        assert re.search(sentence, refusal(write_config, kind.replace(old, new)))

    @pytest.mark.parametrize("hardware", ["", "    hardware:\n", "    hardware: {}\n"])
    def test_a_cluster_needs_a_profile(self, write_config: WriteConfig, hardware: str) -> None:
        text = SLURM[: SLURM.index("    hardware:")] + hardware
        assert re.search(
            r"slurm-lab\.hardware` is .* must hold names of hardware profiles", refusal(write_config, text)
        )


class TestChecks:
    """What `manage.py check` says of what is declared."""

    def said(self, write_config: WriteConfig, providers: str) -> list[str]:
        read(write_config, providers)
        messages = checks.check_instances()
        assert {message.id for message in messages} <= {"cloudtrain.W003"}
        return [message.msg for message in messages]

    def test_nothing_of_what_is_well(self, write_config: WriteConfig, tmp_path: Path) -> None:
        (tmp_path / "key").write_bytes(bytes(range(32)))
        slurm = SLURM.replace("/etc/cloudtrain/jwt_hs256.key", str(tmp_path / "key"))
        assert self.said(write_config, slurm.replace("/mnt/shared", str(tmp_path))) == []

    def test_secrets_that_can_not_be_read_and_folders_that_are_not_there(
        self, write_config: WriteConfig, tmp_path: Path
    ) -> None:
        (tmp_path / "token").write_text(" \n")
        replicate = REPLICATE.replace("/run/secrets/replicate", str(tmp_path / "token"))
        slurm = SLURM.replace("/etc/cloudtrain", str(tmp_path)).replace("/mnt/shared", str(tmp_path / "shared"))
        assert self.said(write_config, replicate + slurm) == [
            f"Provider replicate-lab: {tmp_path}/token is empty.",
            f"Provider slurm-lab: {tmp_path}/jwt_hs256.key can't be read: No such file or directory.",
            f"Provider slurm-lab: the shared folder {tmp_path}/shared isn't there. Mount it here and on all nodes "
            "under this path.",
        ]

    def test_two_names_for_one_account(self, write_config: WriteConfig, monkeypatch: pytest.MonkeyPatch) -> None:
        first, second = (f"\n  {name}:\n    kind: replicate\n    token: ${{RAY_STUDIO_TOKEN}}\n" for name in ("a", "b"))
        assert self.said(write_config, first) == []
        both = "have the same token: what is made elsewhere is found as two jobs."
        assert self.said(write_config, first + second) == [f"a and b {both}"]
        monkeypatch.setenv("REPLICATE_API_TOKEN", SECRET)
        assert self.said(write_config, first) == [f"replicate and a {both}"]

    def test_a_file_that_is_wrong_is_for_its_own_check(self, write_config: WriteConfig) -> None:
        write_config("providers:\n  lab: {}\n")
        assert checks.check_instances() == []
        assert [message.id for message in checks.check_enterprise_file()] == ["cloudtrain.E001"]
