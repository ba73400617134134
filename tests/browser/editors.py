"""The editors of configs, as tests read them."""

from __future__ import annotations

from playwright.sync_api import Locator, Page


def text_of(page: Page, editor: str = "config") -> Locator:
    """The field that holds what an editor shows; a form sends it."""
    return page.locator(f"#{editor} textarea")


def selected(page: Page) -> str:
    """What is selected in the page."""
    text: str = page.evaluate("getSelection().toString()")
    return text
