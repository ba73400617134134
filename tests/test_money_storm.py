"""Replicate falters, webhooks get lost or come twice, workers are killed: the ledger has exactly what Replicate bills.

That is its own seconds times the price, to four places; and each notice is there once. The real thing is
`CLOUDTRAIN_MONEY_STORM_JOBS=200`: trainings of half a minute, a third of them with a limit below their cost, and a kill
every ten seconds until all have ended.
"""

from __future__ import annotations

import os
from collections import Counter
from decimal import Decimal
from pathlib import Path

import pytest

from tests.cloudtrain_site.process_stacks import Stack, migrated  # noqa: F401
from tests.fault_storm import FAULTS, PRICE, Storm, running_storm

JOBS = int(os.environ.get("CLOUDTRAIN_MONEY_STORM_JOBS", "0"))
FEW = 12
#: Half of what a training of the large storm costs.
LIMIT = (15 * PRICE).quantize(Decimal("0.0001"))

SPENT = """
    SELECT job.id, job.external_id, job.status, job.cost_usd,
        (SELECT sum(amount) FROM jobs_ledgerentry WHERE job_id = job.id AND kind IN ('accrue', 'settle', 'correct')),
        (SELECT sum(amount) FROM jobs_ledgerentry WHERE job_id = job.id AND kind IN ('reserve', 'release'))
    FROM jobs_job job ORDER BY job.id
"""
NOTICES = "SELECT job_id, kind FROM notices_notice WHERE job_id IS NOT NULL"
#: What one person, or one address, is sent of one notice.
DELIVERIES = (
    "SELECT notice_id, recipient, count(*) FROM notices_delivery GROUP BY notice_id, recipient HAVING count(*) > 1"
)


def bills(storm: Storm) -> dict[str, Decimal]:
    """What Replicate bills, by prediction, in US dollars: its own seconds at the price."""
    seconds = {one["id"]: one["metrics"].get("predict_time", 0) for one in storm.fake.predictions()}
    return {key: (Decimal(str(value)) * PRICE).quantize(Decimal("0.0001")) for key, value in seconds.items()}


def differences(storm: Storm) -> list[str]:
    """Where the ledger has something else than Replicate bills, one sentence each."""
    billed, found = bills(storm), []
    for job_id, external_id, status, cost, spent, held in storm.site.query(SPENT):
        amounts = {"bill": billed.pop(external_id, Decimal(0)), "job": _dollars(cost), "ledger": _dollars(spent)}
        if len(set(amounts.values())) > 1 or _dollars(held):
            found.append(f"{job_id}, {status}: {amounts}, held {held}")
    return found + [f"{key} is billed ${amount}, and no job's" for key, amount in billed.items() if amount]


def _dollars(amount: object) -> Decimal:
    return Decimal(str(amount or 0)).quantize(Decimal("0.000001"))


def doubled_notices(storm: Storm) -> list[str]:
    """The notices of one kind that a job has twice, and the ends of which there is none."""
    kinds = Counter(storm.site.query(NOTICES))
    wrong = [f"{job}: {count} notices {kind}" for (job, kind), count in kinds.items() if count > 1]
    for job_id, _, status, *_ in storm.site.query(SPENT):
        # Whoever cancels their own job is told nothing; nobody did here.
        if kinds[job_id, f"job_{status}"] != 1:
            wrong.append(f"{job_id}: {kinds[job_id, f'job_{status}']} notices of its end, {status}")
    return wrong


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(3600 if JOBS else 120)
def test_the_ledger_has_what_replicate_bills(tmp_path: Path, migrated: Stack) -> None:  # noqa: F811
    script = "1,30" if JOBS else "1,2"
    options = {"kill_seconds": 10 if JOBS else 3, "in_a_hurry": not JOBS}
    with running_storm(tmp_path, migrated, script=script, **options) as storm:  # type: ignore[arg-type]
        storm.fake.spoil(storm=FAULTS, seed=4)
        storm.limit = float(LIMIT)
        storm.submit(JOBS or FEW)
        storm.pass_over(3500 if JOBS else 90, kills=None if JOBS else 1)
        assert storm.verdicts() == []
        assert storm.kills > 0
        assert differences(storm) == []
        assert sum(bills(storm).values()) > 0
        verified = storm.site.run("ledger", "--verify")
        assert verified.returncode == 0, verified.stdout + verified.stderr
        assert doubled_notices(storm) == []
        assert storm.site.query(DELIVERIES) == []
        if JOBS:
            assert any(status == "cancelled" for _, _, status, *_ in storm.site.query(SPENT))
