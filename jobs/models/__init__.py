"""The room's tables."""

from __future__ import annotations

from jobs.models.cluster import ClusterLook
from jobs.models.config import TrainingConfig
from jobs.models.cost_sums import ChangedCosts, CostSum
from jobs.models.curves import KeptCurves
from jobs.models.dataset import DatasetCopy, DatasetUpload
from jobs.models.day_figures import ChangedDay, DayFigures
from jobs.models.history import JobEvent, record_in_history
from jobs.models.idempotency_key import IdempotencyKey
from jobs.models.invitation import Invitation
from jobs.models.job import Job, JobQuerySet
from jobs.models.ledger import DatedPrice, DayCost, JobAccount, LedgerEntry
from jobs.models.log_piece import LogPiece
from jobs.models.organization import Membership, Organization
from jobs.models.output import OutputFetch, StoredOutput
from jobs.models.provider import ProviderConfig
from jobs.models.run_counter import RunCounter
from jobs.models.service_account import ServiceAccount
from jobs.models.tag import JobTag, Tag
from jobs.models.view import SavedView
from jobs.models.webhook import WebhookDelivery

__all__ = [
    "ChangedCosts",
    "ChangedDay",
    "ClusterLook",
    "CostSum",
    "DatasetCopy",
    "DatasetUpload",
    "DatedPrice",
    "DayCost",
    "DayFigures",
    "IdempotencyKey",
    "Invitation",
    "Job",
    "JobAccount",
    "JobEvent",
    "JobQuerySet",
    "JobTag",
    "KeptCurves",
    "LedgerEntry",
    "LogPiece",
    "Membership",
    "Organization",
    "OutputFetch",
    "ProviderConfig",
    "RunCounter",
    "SavedView",
    "ServiceAccount",
    "StoredOutput",
    "Tag",
    "TrainingConfig",
    "WebhookDelivery",
    "record_in_history",
]
