"""The sender: addresses due notices, and sends their deliveries, many at once."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import aiohttp
from asgiref.sync import async_to_sync, sync_to_async

from cloudtrain_site.conf.public_address import full_link
from cloudtrain_site.encryption import SecretsLostError
from cloudtrain_site.notices import claims
from cloudtrain_site.notices.channels import signing_secrets_for
from cloudtrain_site.notices.chat import send_chat
from cloudtrain_site.notices.claims import Claimed
from cloudtrain_site.notices.mail import Mail, send_mails
from cloudtrain_site.notices.models import ChannelKind
from cloudtrain_site.notices.outbox import due_deliveries, notices_to_address
from cloudtrain_site.notices.outcomes import Outcome, failed, refused
from cloudtrain_site.notices.recipients import address_due
from cloudtrain_site.notices.sealing import open_texts
from cloudtrain_site.notices.webhooks import CALL_SECONDS, Call, body_of, send_webhook, webhook_client

logger = logging.getLogger("simpletuner.cloud.notices")

#: After so long a sender takes nothing new, so that its task ends before the time limit of tasks, and leaves its
#: worker to others for a moment.
CLAIM_SECONDS = 20.0
#: In the last seconds before that a sender calls no receiver that failed lately: while it waited for such an answer at
#: its end, nobody would send to the others.
HEALTHY_SECONDS = CALL_SECONDS
MAILS_A_BATCH = 25
#: At most this many mail batches at once: the mail server is one receiver.
MAIL_BATCHES = 2
#: Names, chats and mails block a thread each.
THREADS = 32

Result = tuple[Claimed, Outcome]


def anything_due() -> bool:
    return notices_to_address().exists() or due_deliveries().exists()


def send_due() -> int:
    """Send what is due, until nothing is or CLAIM_SECONDS are over. Returns how many deliveries were sent."""
    return int(async_to_sync(_Sender().run)()) if anything_due() else 0


class _Sender:
    """One run of the sender. The database is used from the thread of its caller alone."""

    def __init__(self) -> None:
        self.deadline = time.monotonic() + CLAIM_SECONDS
        self.tasks: dict[asyncio.Task[list[Result]], list[Claimed]] = {}
        self.client: aiohttp.ClientSession

    async def run(self) -> int:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS, "notices"))
        sent = 0
        self.client = webhook_client(claims.SLOTS)
        try:
            while True:
                if time.monotonic() < self.deadline:
                    await self._begin()
                if not self.tasks:
                    return sent
                sent += await self._finish()
        finally:
            await self.client.close()

    async def _begin(self) -> None:
        """Start attempts for what is due."""
        under_way = [item for group in self.tasks.values() for item in group]
        batches = sum(group[0].first.kind == ChannelKind.MAIL for group in self.tasks.values())
        only_healthy = time.monotonic() > self.deadline - HEALTHY_SECONDS
        mails, others = await sync_to_async(_claim)(under_way, MAIL_BATCHES - batches, only_healthy)
        for start in range(0, len(mails), MAILS_A_BATCH):
            group = mails[start : start + MAILS_A_BATCH]
            self.tasks[asyncio.create_task(_send_mails(group, self.deadline))] = group
        for claimed in others:
            self.tasks[asyncio.create_task(self._send_one(claimed))] = [claimed]

    async def _finish(self) -> int:
        """Wait for the next attempts to end, and record them."""
        done, _ = await asyncio.wait(self.tasks, timeout=1.0, return_when=asyncio.FIRST_COMPLETED)
        results = [result for task in done for result in task.result()]
        for task in done:
            del self.tasks[task]
        return await sync_to_async(claims.record)(results) if results else 0

    async def _send_one(self, claimed: Claimed) -> list[Result]:
        try:
            outcome = await self._send(claimed)
        except SecretsLostError:
            outcome = refused("Its address can't be decrypted, because SECRET_KEY was changed. Enter it again.")
        except Exception:
            outcome = _unforeseen(claimed)
        return [(claimed, outcome)]

    async def _send(self, claimed: Claimed) -> Outcome:
        delivery, notice = claimed.first, claimed.first.notice
        channel = delivery.channel
        if channel is None and delivery.kind != ChannelKind.JOB_WEBHOOK:
            return refused("The channel was removed.")
        if channel is not None and channel.off_at is not None:
            return refused("The channel is off.")
        sealed = notice.sealed_address if channel is None else channel.sealed_address
        (address,) = open_texts(sealed)
        if delivery.kind == ChannelKind.CHAT:
            body = "\n\n".join(part for part in (notice.text, full_link(notice.link)) if part)
            return await asyncio.to_thread(send_chat, address, notice.subject, body)
        signing_secrets = await sync_to_async(signing_secrets_for)(delivery)
        call = Call(address, signing_secrets, delivery.message_id, body_of(notice), notice.correlation_id)
        return await send_webhook(self.client, call)


def _claim(under_way: Sequence[Claimed], mail_batches: int, only_healthy: bool) -> tuple[list[Claimed], list[Claimed]]:
    address_due()
    mails = []
    if mail_batches > 0:
        mails = claims.claim_mails(mail_batches * MAILS_A_BATCH, only_healthy=only_healthy)
    calls = [item for item in under_way if item.first.kind != ChannelKind.MAIL]
    return mails, claims.claim(calls, only_healthy=only_healthy)


async def _send_mails(group: Sequence[Claimed], deadline: float) -> list[Result]:
    mails = [
        Mail(
            address=claimed.first.shown,
            message_id=claimed.first.message_id,
            notices=[delivery.notice for delivery in claimed.deliveries],
            can_choose=claimed.first.user_id is not None,
        )
        for claimed in group
    ]
    try:
        return list(zip(group, await asyncio.to_thread(send_mails, mails, deadline), strict=True))
    except Exception:
        return [(claimed, _unforeseen(claimed)) for claimed in group]


def _unforeseen(claimed: Claimed) -> Outcome:
    """Return the outcome of an attempt that raised. What one receiver answers must not end the sender of all others."""
    logger.exception("A notice could not be sent", extra={"channel": claimed.first.kind})
    return failed("It could not be sent. The log of this site says why.")
