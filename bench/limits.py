"""No limits for one person: a bench has one do what many do at a site."""

from __future__ import annotations

NONE_REACHED = {
    f"CLOUDTRAIN_LIMIT_{name}": "1000000"
    for name in ("OPEN_JOBS", "UPLOADS", "STREAMS", "SYNCS_PER_MINUTE", "PREVIEWS_PER_MINUTE", "LOG_READS_PER_MINUTE")
}
