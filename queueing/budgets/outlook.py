"""What the budgets leave for a job: which of them is strictest, how much is left, and whether the job would wait."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cached_property

from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode

from jobs.costs import ledger
from jobs.costs.prices import rate_of
from jobs.models import Job, Organization, ProviderConfig
from jobs.permissions import AnyUser, is_superuser
from jobs.providers import label_of
from jobs.providers.hardware_names import hardware_label
from jobs.statuses import JobStatus
from queueing.budgets import sentences
from queueing.budgets.editing import visible_budgets
from queueing.budgets.purse import ShownRoom, shown_purse
from queueing.models import Budget, Scope
from queueing.policy import Candidate


@dataclass(frozen=True, slots=True)
class Outlook:
    """The strictest budget's answer, in a sentence that the reader may read."""

    sentence: str
    #: In US dollars; None: that is not for the reader to know.
    left: Decimal | None
    would_wait: bool
    #: Where the reader sets the price that is lacking; empty: none is, or others do.
    price_address: str = ""
    #: The hardware for lack of whose price the job waits; empty: it has one.
    unpriced: str = ""


class BudgetReader:
    """Reads the budgets once, for any number of jobs that are shown to one reader. `viewer` None: any member."""

    def __init__(self, viewer: AnyUser | None, now: datetime | None = None) -> None:
        self.viewer = viewer
        self._configs: dict[str, ProviderConfig] = {}
        self.purse = shown_purse(now or timezone.now())

    def obstacle(self, candidate: Candidate) -> ShownRoom | None:
        """Return the budget that lacks most for the candidate; None: it can go."""
        return self.purse.obstacle(candidate) if self.purse else None

    def waiting(self, candidate: Candidate, hardware: str) -> str:
        """Return why the candidate waits for a budget; empty: it does not."""
        room = self.obstacle(candidate)
        return self._waiting(room, candidate, hardware) if room else ""

    def of_job(self, job: Job) -> Outlook | None:
        """Return what is left for a job; None: no budget concerns it. One that has begun has what it needs."""
        needs = ledger.expected_cost(job, self._config_of) if job.status == JobStatus.PENDING else Decimal(0)
        return self.outlook(Candidate(0, job.submitted_by_id, job.organization_id, job.provider, needs=needs), job)

    def of_organization(self, organization: Organization) -> Outlook | None:
        """Return what is left for the organization's jobs; None: it has no budget."""
        return self.outlook(Candidate(0, None, organization.pk, "", needs=Decimal(0)))

    def outlook(self, candidate: Candidate, job: Job | None = None) -> Outlook | None:
        rooms: Sequence[ShownRoom] = self.purse.rooms_of(candidate) if self.purse else ()
        if not rooms:
            return None
        obstacle = self.obstacle(candidate)
        room = obstacle or min(rooms, key=lambda one: one.left)
        hardware = job.hardware_profile if job else ""
        left = room.left if self._may_see(room) else None
        if obstacle is None:
            return Outlook(sentences.left(room.state, candidate.needed_usd, with_sums=self._may_see(room)), left, False)
        address = self.price_address(candidate, hardware) if job else ""
        unpriced = self.unpriced_hardware(candidate, hardware)
        return Outlook(self._waiting(obstacle, candidate, hardware), left, True, address, unpriced)

    def _waiting(self, room: ShownRoom, candidate: Candidate, hardware: str) -> str:
        needs = candidate.needed_usd
        unpriced = self.unpriced_hardware(candidate, hardware)
        return sentences.waiting(room.state, needs, with_sums=self._may_see(room), unpriced=unpriced)

    def unpriced_hardware(self, candidate: Candidate, hardware: str) -> str:
        """Return the name of the hardware for lack of whose price the candidate's cost is not known; empty: of none."""
        if candidate.needed_usd is not None or rate_of(self._config_of(candidate.provider), hardware) is not None:
            return ""
        return hardware_label(hardware) or f"the default hardware of {label_of(candidate.provider)}"

    def price_address(self, candidate: Candidate, hardware: str) -> str:
        """Return where the reader sets the price for lack of which the candidate waits; empty: nowhere."""
        is_setter = self.viewer is not None and is_superuser(self.viewer)
        if not is_setter or not self.unpriced_hardware(candidate, hardware):
            return ""
        name = candidate.provider
        if self._config_of(name)._state.adding:
            return f"{reverse('admin:jobs_providerconfig_add')}?{urlencode({'name': name})}"
        return reverse("admin:jobs_providerconfig_change", args=[name])

    def _config_of(self, provider: str) -> ProviderConfig:
        if provider not in self._configs:
            self._configs[provider] = ProviderConfig.of(provider)
        return self._configs[provider]

    def _may_see(self, room: ShownRoom) -> bool:
        """Whether the reader may know the sums. Those of the organization they may, since they may see the job."""
        budget: Budget = room.state.budget
        return budget.scope == Scope.ORGANIZATION or budget.pk in self._visible

    @cached_property
    def _visible(self) -> set[int]:
        return set() if self.viewer is None else set(visible_budgets(self.viewer).values_list("pk", flat=True))
