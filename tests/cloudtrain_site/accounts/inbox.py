"""The mails about accounts, as a real server received them."""

from __future__ import annotations

import re

from tests.cloudtrain_site.notices.receivers import MailReceiver


class Inbox(MailReceiver):
    """A mail server, and what arrived there."""

    def text_to(self, address: str) -> str:
        """The text of the newest mail to that address; AssertionError: there is none."""
        to_it = [mail for mail in self.mails if mail["To"] == address]
        assert to_it, f"nothing arrived for {address}"
        return str(to_it[-1].get_content())

    def link_to(self, address: str) -> str:
        """The path of the first link in it."""
        found = re.search(r"https?://[^/\s]+(/\S+)", self.text_to(address))
        assert found is not None
        return found[1]
