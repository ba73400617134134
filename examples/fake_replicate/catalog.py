"""What the service offers before anyone has used it: an account, hardware, models and their versions."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

OWNER = "simpletuner"
PROFILES = ("h100", "h100-x2", "h100-x4", "h100-x8", "l40s", "l40s-x2", "l40s-x4", "l40s-x8")
VERSIONS_EACH = 2
ACCOUNT = {
    "type": "organization",
    "username": "acme",
    "name": "Acme, Inc.",
    "github_url": "https://github.com/acme",
    "avatar_url": "https://github.com/acme.png",
}
HARDWARE = [
    {"sku": "cpu", "name": "CPU"},
    {"sku": "gpu-t4", "name": "Nvidia T4 GPU"},
    {"sku": "gpu-l40s", "name": "Nvidia L40S GPU"},
    {"sku": "gpu-2x-l40s", "name": "2x Nvidia L40S GPU"},
    {"sku": "gpu-4x-l40s", "name": "4x Nvidia L40S GPU"},
    {"sku": "gpu-8x-l40s", "name": "8x Nvidia L40S GPU"},
    {"sku": "gpu-a100-large", "name": "Nvidia A100 (80GB) GPU"},
    {"sku": "gpu-a100-large-2x", "name": "2x Nvidia A100 (80GB) GPU"},
    {"sku": "gpu-a100-large-4x", "name": "4x Nvidia A100 (80GB) GPU"},
    {"sku": "gpu-a100-large-8x", "name": "8x Nvidia A100 (80GB) GPU"},
    {"sku": "gpu-h100", "name": "Nvidia H100 GPU"},
    {"sku": "gpu-h100-2x", "name": "2x Nvidia H100 GPU"},
    {"sku": "gpu-h100-4x", "name": "4x Nvidia H100 GPU"},
    {"sku": "gpu-h100-8x", "name": "8x Nvidia H100 GPU"},
]
TEXT = {"type": "string"}
FLAG = {"type": "boolean"}
SECRET = {"type": "string", "format": "password", "writeOnly": True, "x-cog-secret": True}
# Today's predictor: it knows no `webhook_config`, and calls `lycoris_json` by another name.
TRAINER_INPUTS: dict[str, dict[str, Any]] = {
    "config_json": TEXT,
    "dataloader_json": TEXT,
    "lycoris_config": TEXT,
    "images": {"type": "string", "format": "uri"},
    "hf_token": SECRET,
    "hub_model_id": TEXT,
    "max_train_steps": {"type": "integer", "minimum": 1},
    "s3_bucket": TEXT,
    "s3_region": TEXT,
    "s3_endpoint_url": TEXT,
    "s3_base_path": TEXT,
    "s3_public_base_url": TEXT,
    "s3_access_key": SECRET,
    "s3_secret_key": SECRET,
    "return_logs": FLAG,
}


@dataclass(frozen=True)
class Model:
    """A public model. `inputs` are the schemas of what its predictor declares; versions are newest first."""

    owner: str
    name: str
    description: str
    inputs: dict[str, dict[str, Any]]
    required: tuple[str, ...] = ()
    official: bool = False
    versions: list[str] = field(default_factory=list)

    @property
    def full_name(self) -> str:
        return f"{self.owner}/{self.name}"

    def push(self) -> str:
        """Publish one more version, and return its id."""
        version = hashlib.sha256(f"{self.full_name} {len(self.versions)}".encode()).hexdigest()
        self.versions.insert(0, version)
        return version

    def body(self) -> dict[str, Any]:
        return {
            "url": f"https://replicate.com/{self.full_name}",
            "owner": self.owner,
            "name": self.name,
            "description": self.description,
            "visibility": "public",
            "is_official": self.official,
            "github_url": None,
            "paper_url": None,
            "license_url": None,
            "run_count": 1234,
            "cover_image_url": None,
            "default_example": None,
            "latest_version": self.version_body(self.versions[0]),
        }

    def version_body(self, version: str) -> dict[str, Any]:
        day = len(self.versions) - self.versions.index(version)
        return {
            "id": version,
            "created_at": f"2026-01-{day:02d}T09:30:00.123456Z",
            "cog_version": "0.16.9",
            "openapi_schema": self._schema(),
        }

    def _schema(self) -> dict[str, Any]:
        described: dict[str, Any] = {"type": "object", "title": "Input", "properties": self.inputs}
        if self.required:
            described["required"] = list(self.required)
        return {
            "openapi": "3.0.2",
            "info": {"title": "Cog", "version": "0.1.0"},
            "components": {"schemas": {"Input": described, "Output": {"type": "string", "title": "Output"}}},
        }


def make_models() -> dict[str, Model]:
    """By full name: a trainer for each profile, a model that only greets, and an official one."""
    trainers = [
        Model(OWNER, f"advanced-trainer-{profile}", f"Trains with SimpleTuner on {profile}.", TRAINER_INPUTS)
        for profile in PROFILES
    ]
    hello = Model("replicate", "hello-world", "A tiny model that says hello", {"text": TEXT}, ("text",))
    images: dict[str, dict[str, Any]] = {"prompt": TEXT, "num_inference_steps": {"type": "integer", "minimum": 1}}
    flux = Model("black-forest-labs", "flux-schnell", "Makes images, fast", images, ("prompt",), official=True)
    models = {model.full_name: model for model in (*trainers, hello, flux)}
    for model in models.values():
        for _ in range(VERSIONS_EACH):
            model.push()
    return models
