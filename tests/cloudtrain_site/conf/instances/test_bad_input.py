"""Each mistake in a declared provider is a sentence that names the line and the key and says what to do."""

from __future__ import annotations

import re

import pytest

from tests.cloudtrain_site.conf.instances.declared import RAY, REPLICATE, SLURM, refusal
from tests.configuration import WriteConfig


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
            r"line 2: `providers\.Lab` is not an allowed name; allowed are names of",
        ),
        ("\n  my lab:\n    kind: ray\n", r"`providers\.my lab` is not an allowed name"),
        (f"\n  {'x' * 41}:\n    kind: ray\n", r"`providers\.x{40}x` is not an allowed name; .*at most 40"),
        (
            "\n  replicate:\n    kind: replicate\n",
            r"line 2: `providers\.replicate` can't be chosen: .*REPLICATE_API_TOKEN",
        ),
        (
            f"{REPLICATE}    cost_per_second: {{h100: x}}\n",
            r"line 5: .*cost_per_second\.h100` is x, .* a number of US",
        ),
        (REPLICATE * 2, r"line 6: `providers\.replicate-lab` is repeated; line 2 has it too"),
        (
            "\n  lab:\n    kind: replicate\n",
            r"line 2: `providers\.lab` needs one of `token`, `token_file`",
        ),
    ],
)
def test_of_an_instance(write_config: WriteConfig, text: str, sentence: str) -> None:
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
            r"line 2: `providers\.slurm-lab` needs one of `token`, `token_file`, `key_file`",
        ),
        (SLURM, "user: trainer", "user: tr ainer", r"user` is tr ainer, but it must be an account at the cluster"),
        (
            SLURM,
            "2x h100-x8:",
            "'2x  h100':",
            r"`providers\.slurm-lab\.hardware\.2x  h100` is not an allowed name",
        ),
        (SLURM, "nodes: 2", "nodes: 0", r"nodes` is 0, but it must be a whole number from 1 to 10000"),
        (SLURM, '"gpu,big"', "gpu;rm", r"partition` is gpu;rm, but it must be a partition, or some with commas"),
    ],
)
def test_of_a_key(write_config: WriteConfig, kind: str, old: str, new: str, sentence: str) -> None:
    assert old in kind
    assert re.search(sentence, refusal(write_config, kind.replace(old, new)))


@pytest.mark.parametrize("hardware", ["", "    hardware:\n", "    hardware: {}\n"])
def test_a_cluster_needs_a_profile(write_config: WriteConfig, hardware: str) -> None:
    text = SLURM[: SLURM.index("    hardware:")] + hardware
    assert re.search(r"slurm-lab\.hardware` is .* must hold names of hardware profiles", refusal(write_config, text))
