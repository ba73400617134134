"""How Django writes times: those of the admin are in TIME_ZONE, and would not say so."""

from __future__ import annotations

DATETIME_FORMAT = "j M Y, H:i:s T"
