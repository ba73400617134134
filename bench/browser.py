"""Chromium for a bench, and browser contexts in which somebody is signed in."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bench.stack import Stack
from tests.servers import find_binary


@contextmanager
def chromium() -> Iterator[Any]:
    """Yield a browser. From then on this process may query the database beside it."""
    from playwright.sync_api import sync_playwright

    # Playwright's calls run inside an event loop, in which Django would refuse to query.
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_binary("chromium"), args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


def context_of(browser: Any, stack: Stack, name: str | None, **options: Any) -> Any:
    """Return a browser context that has nothing cached, in which this user is signed in; None: nobody."""
    from django.contrib.auth.models import User

    from tests.web import session_cookies

    context = browser.new_context(base_url=stack.url, **options)
    cookies = session_cookies(User.objects.get(username=name)) if name else {}
    context.add_cookies([{"name": key, "value": value, "url": stack.url} for key, value in cookies.items()])
    return context
