"""How pages and sentences call a hardware profile. Pure."""

from __future__ import annotations


def hardware_label(name: str) -> str:
    """Return the name to show for a hardware profile."""
    return "CPU" if name == "cpu" else name


def lacks_price(hardware: str) -> str:
    return f"there is no price for {hardware_label(hardware) or 'the default hardware'}."
