"""The first waiting entries of each lane: all that a pass has to read, however many wait behind them."""

from __future__ import annotations

from datetime import datetime

from django.db import connection
from django.db.models import DateTimeField

from queueing.policy import Candidate

#: Walks from lane to lane along the index `entry_lane`, one probe a lane. A DISTINCT would read every waiting entry.
LANES = """
WITH RECURSIVE lanes(lane) AS (
    SELECT MIN(lane) FROM queueing_queueentry {by_lane} WHERE status = 'pending'
    UNION ALL
    SELECT (SELECT MIN(later.lane) FROM queueing_queueentry later {by_lane}
            WHERE later."status" = 'pending' AND later.lane > lanes.lane)
    FROM lanes WHERE lanes.lane IS NOT NULL
)
"""
COLUMNS = "head.id, head.user_id, head.organization_id, head.provider, head.turn, head.needs_usd"
FIRST = """
FROM queueing_queueentry first {by_lane}
WHERE first."status" = 'pending' AND first.lane = lanes.lane
    AND (first.not_before IS NULL OR first.not_before <= %s)
ORDER BY first.turn, first.id LIMIT %s
"""
#: SQLite has no LATERAL, and PostgreSQL would try each entry against each lane for SQLite's form. Before ANALYZE,
#: SQLite would read all that waits for each lane, unless the index is named.
STATEMENTS = {
    "postgresql": f"{LANES} SELECT {COLUMNS} FROM lanes CROSS JOIN LATERAL (SELECT first.* {FIRST}) head".format(  # noqa: S608
        by_lane=""
    ),
    "sqlite": f"{LANES} SELECT {COLUMNS} FROM lanes CROSS JOIN queueing_queueentry head "  # noqa: S608
    f"WHERE head.id IN (SELECT first.id {FIRST})".format(by_lane="INDEXED BY entry_lane"),
}


def next_candidates(now: datetime, depth: int) -> list[Candidate]:
    """Return the first `depth` waiting entries of each lane, without those that wait for another attempt.

    It costs a few probes of an index for each lane, and nothing for entries behind them or finished ones.
    """
    moment = connection.ops.adapt_datetimefield_value(DateTimeField().get_prep_value(now))
    with connection.cursor() as cursor:
        cursor.execute(STATEMENTS[connection.vendor], [moment, depth])
        return [
            Candidate(entry, user, organization, provider, turn, needs=needs)
            for entry, user, organization, provider, turn, needs in cursor.fetchall()
        ]
