"""What a browser calls itself, as a person knows it."""

from __future__ import annotations

#: The first that is in the text wins: Edge says that it is Chrome, and Chrome that it is Safari.
_BROWSERS = (
    *(("Edg", "Edge"), ("OPR/", "Opera"), ("Firefox/", "Firefox"), ("FxiOS/", "Firefox"), ("CriOS/", "Chrome")),
    *(("Chrome/", "Chrome"), ("Safari/", "Safari"), ("curl/", "curl"), ("python", "a Python program")),
)
_SYSTEMS = (
    *(("iPhone", "an iPhone"), ("iPad", "an iPad"), ("Android", "Android"), ("Windows", "Windows")),
    *(("CrOS", "ChromeOS"), ("Mac OS X", "a Mac"), ("Linux", "Linux")),
)


def browser_name(user_agent: str) -> str:
    """Return like "Firefox on Linux"; what is known of neither is an unknown browser."""
    browser = next((name for mark, name in _BROWSERS if mark in user_agent), "")
    system = next((name for mark, name in _SYSTEMS if mark in user_agent), "")
    return " on ".join(filter(None, [browser or "An unknown browser", system]))
