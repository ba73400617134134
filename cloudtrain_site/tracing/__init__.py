"""Traces by OpenTelemetry, on demand: `docs/monitoring.md`. Nothing of the library is imported while they are off."""
