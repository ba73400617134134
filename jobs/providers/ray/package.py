"""The package of a training: a zip that Ray unpacks on the node that runs it.

It holds the job's id, so that no two jobs get one working folder, and the secrets, in files of mode 600: what stands in
the entrypoint, the metadata or the environment can be read through Ray's API.
"""

from __future__ import annotations

import hashlib
import io
import json
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from cloudtrain_site import archives
from cloudtrain_site.conf.providers import RayInstance
from jobs.providers import runner
from jobs.providers.base import ProviderError, TrainingSpec
from jobs.providers.clusters.order import DATASET_ON_NODE, config_files, run_order
from jobs.providers.clusters.training_folder import TrainingFolder
from jobs.providers.datasets import TransferProgress
from jobs.providers.local import dataset
from jobs.providers.ray.client import MAX_PACKAGE_BYTES

TOO_LARGE = (
    "The dataset is larger than 100 MB, the most that a job's package can hold. Set a shared folder for this provider."
)
#: The archive's, which is about what it has in the package; the rest of a package has some 40 kB.
MAX_DATASET_BYTES = MAX_PACKAGE_BYTES - 1_000_000


@dataclass(frozen=True, slots=True)
class Package:
    name: str
    data: bytes

    @property
    def path(self) -> str:
        return f"/api/packages/gcs/{self.name}"

    @property
    def address(self) -> str:
        return f"gcs://{self.name}"


def build(instance: RayInstance, spec: TrainingSpec, folder: TrainingFolder | None) -> Package:
    """Return the package. `folder` is the training's on the shared folder; without one a dataset goes along.

    Raises ProviderError for a dataset that is too large or broken.
    """
    dataset_folder = spec.dataset if folder or not spec.dataset else DATASET_ON_NODE
    order = run_order(
        instance,
        spec,
        records_folder=folder.path if folder else None,
        output=folder.output if folder else None,
        dataset_folder=dataset_folder,
        log="records" if folder else "stdout",
        marks=True,
        forwards=False,  # Ray's stop signals every process of the job
    )
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as file:
        for name, data in config_files(spec, dataset_folder).items():
            _add(file, name, data)
        _add(file, runner.RUN_NAME, json.dumps(order).encode())
        _add(file, runner.ARCHIVE_NAME, runner.archive())
        _add(file, "job_id", spec.job_id.encode())
        if dataset_folder == DATASET_ON_NODE:
            _add_dataset(file, Path(spec.dataset))
    data = buffer.getvalue()
    if len(data) > MAX_PACKAGE_BYTES:
        raise ProviderError(TOO_LARGE, permanent=True, nothing_created=True)
    return Package(f"_ray_pkg_{hashlib.sha256(data).hexdigest()[:32]}.zip", data)


def _add(file: zipfile.ZipFile, name: str, data: bytes, compression: int = zipfile.ZIP_STORED) -> None:
    entry = zipfile.ZipInfo(name)
    entry.external_attr = 0o100600 << 16
    entry.compress_type = compression
    file.writestr(entry, data)


def _add_dataset(file: zipfile.ZipFile, archive: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        unpacked = Path(folder, dataset.NAME)
        try:
            archives.unpack(archive, unpacked, TransferProgress(0).advance)
        except archives.ArchiveError as error:
            message = f"The dataset can't be unpacked. {error}"
            raise ProviderError(message, permanent=True, nothing_created=True) from error
        size = 0
        for path in sorted(path for path in unpacked.rglob("*") if path.is_file()):
            size += path.stat().st_size
            if size > 20 * MAX_PACKAGE_BYTES or file.fp is None or file.fp.tell() > MAX_PACKAGE_BYTES:
                raise ProviderError(TOO_LARGE, permanent=True, nothing_created=True)
            name = f"{dataset.NAME}/{path.relative_to(unpacked).as_posix()}"
            _add(file, name, path.read_bytes(), zipfile.ZIP_DEFLATED)
