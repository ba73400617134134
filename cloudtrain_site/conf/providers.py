"""The providers that the configuration file declares under `providers:`, each an instance with a name and a kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import ClassVar, TypeAlias

from cloudtrain_site.conf.environment import ConfigurationError
from cloudtrain_site.redaction import register_secret

#: More than a token or a key ever has.
_MAX_SECRET_BYTES = 16_384


@dataclass(frozen=True)
class HardwareProfile:
    """What a job with this profile asks of its cluster. Each figure is for one of its `nodes`."""

    name: str
    nodes: int = 1
    gpus: int = 0
    #: Slurm's type of GPU, as in `gpu:h100:8`; empty takes any.
    gpu_type: str = ""
    cpus: int = 1
    #: 0: what the cluster gives by itself.
    memory_mb: int = 0
    #: Ray's custom resources, by name.
    resources: Mapping[str, float] = field(default_factory=dict)
    #: Slurm's partition; empty is the cluster's default.
    partition: str = ""
    #: None: the estimate decides, or the partition where there is none.
    time_limit_minutes: int | None = None
    #: US dollars a second for the whole job, all nodes together; 0 is own hardware; None is not known.
    cost_per_second: Decimal | None = None


def is_one_word(text: str) -> bool:
    return text.isascii() and text.isprintable() and " " not in text


@dataclass(frozen=True)
class Secret:
    """A secret as the file has it, or the file that has it, which is read at each use: tokens expire.

    It is masked in every text from when it is known on.
    """

    value: str = field(default="", repr=False)
    file: Path | None = None

    def __post_init__(self) -> None:
        register_secret(self.value)

    def __bool__(self) -> bool:
        """Whether one is set; whether its file can be read shows when it is read."""
        return bool(self.value or self.file)

    def read(self) -> str:
        """Return the secret; empty when none is set.

        Raises ConfigurationError for a file that can't be read, or holds what no header of a request can carry.
        """
        secret = self.read_bytes().decode("utf-8", "replace").strip()
        if not is_one_word(secret):
            raise ConfigurationError(f"{self.file} does not contain a token (one word of letters, digits and signs).")
        register_secret(secret, source=str(self.file or ""))
        return secret

    def read_bytes(self) -> bytes:
        """Return the secret as it is in its file. Raises ConfigurationError for a file that can't be read."""
        if self.file is None:
            return self.value.encode()
        try:
            with self.file.open("rb") as file:
                return file.read(_MAX_SECRET_BYTES)
        except OSError as error:
            raise ConfigurationError(f"{self.file} can't be read: {error.strerror or error}.") from None


@dataclass(frozen=True)
class ReplicateInstance:
    """An account at Replicate."""

    kind: ClassVar[str] = "replicate"
    name: str
    label: str
    token: Secret
    #: Empty is Replicate's own address.
    address: str = ""
    max_running: int | None = None
    #: US dollars a second, by hardware profile.
    cost_per_second: Mapping[str, Decimal] = field(default_factory=dict)

    @property
    def prices(self) -> Mapping[str, Decimal]:
        return self.cost_per_second


@dataclass(frozen=True)
class ClusterInstance:
    """What Ray and Slurm clusters have in common."""

    name: str
    label: str
    #: Scheme, host and port of the cluster's HTTP API, without a slash at the end.
    address: str
    token: Secret
    #: The trainer's program and arguments, with placeholders. The cluster's nodes have to have it.
    command: tuple[str, ...]
    #: By name, in the order of the file; the first is the default.
    hardware: Mapping[str, HardwareProfile]
    #: The Python of the nodes that runs our part beside the trainer, and that `{python}` stands for.
    python: str = "python3"
    #: A folder that this site and all nodes see under the same path.
    shared_folder: Path | None = None
    grace_seconds: int = 30
    max_running: int | None = None

    @property
    def prices(self) -> Mapping[str, Decimal]:
        """US dollars a second, of the hardware profiles whose price is known."""
        prices = {name: profile.cost_per_second for name, profile in self.hardware.items()}
        return {name: price for name, price in prices.items() if price is not None}


@dataclass(frozen=True)
class RayInstance(ClusterInstance):
    """A Ray cluster."""

    kind: ClassVar[str] = "ray"


@dataclass(frozen=True)
class SlurmInstance(ClusterInstance):
    """A Slurm cluster. Its shared folder is always set."""

    kind: ClassVar[str] = "slurm"
    #: The account at the cluster that trainings run as.
    user: str = ""
    #: The cluster's signing key (`jwt_hs256.key`), with which each request gets a fresh token; it wins over `token`.
    key: Secret = Secret()
    #: Slurm's bank account and quality of service; empty are the user's defaults.
    account: str = ""
    qos: str = ""


Instance: TypeAlias = ReplicateInstance | RayInstance | SlurmInstance
