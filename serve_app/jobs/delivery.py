"""Delivery of webhooks from the outbox, with the retries of Standard Webhooks."""

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Callable, Collection
from time import monotonic, time

from serve_app.errors import ServeAppError
from serve_app.jobs.addresses import Addresses, Answer, NotAnswered
from serve_app.jobs.destinations import Destinations, host_of
from serve_app.jobs.job import Delivery
from serve_app.jobs.store import JobStore, Settlement
from serve_app.jobs.webhooks import signed_headers

logger = logging.getLogger(__name__)

# Seconds before each attempt, counted from the one before, as the specification recommends.
DELAYS_S = (0, 5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
_GONE = 410
_MOST_AT_ONCE = 64
_MOST_OF_OWNER = 8  # at once
_LEASE_S = 60.0  # more than the time-out of an exchange
_JITTER = 0.1  # part of a delay
_MOST_RETRY_AFTER_S = 86_400.0
_POLL_S = 0.5


class DeliveryLoop:
    """Claims messages of the outbox and sends them; several loops share the work by leases.

    A message is delivered at least once, with the same `webhook-id` in each attempt.
    settled: called with the outcome of each attempt: delivered, retried, failed or disabled.
    """

    def __init__(
        self,
        store: JobStore,
        addresses: Addresses,
        timeout_s: float,
        settled: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._store = store
        self._settled = settled
        self._addresses = addresses
        self._lease_s = max(_LEASE_S, 2 * timeout_s)
        self._destinations = Destinations()

    async def run(self) -> None:
        """Deliver until cancelled. Errors of the store are logged, and do not end the loop.

        An owner's messages take at most _MOST_OF_OWNER of the _MOST_AT_ONCE places, and those to
        one host as many as `Destinations` allows: slow receivers delay their own messages alone.
        """
        sending: dict[asyncio.Task[None], Delivery] = {}
        try:
            while True:
                due = await self._due(sending.values())
                sending |= {asyncio.create_task(self._deliver(one)): one for one in due}
                if not due:
                    await _pause(sending)
                sending = {task: one for task, one in sending.items() if not task.done()}
        finally:
            for task in sending:
                task.cancel()
            await asyncio.gather(*sending, return_exceptions=True)

    async def _due(self, sending: Collection[Delivery]) -> list[Delivery]:
        """Claim messages; none while there is no place, or no store."""
        most = min(_MOST_OF_OWNER, self._destinations.most)
        places = min(_MOST_AT_ONCE - len(sending), most)
        if places <= 0:
            return []
        counts = Counter(one.owner for one in sending)
        bounds = {owner: _MOST_OF_OWNER - count for owner, count in counts.items()}
        hosts = self._destinations.bounds(host_of(one.url) for one in sending)
        try:
            return await self._store.claim_deliveries(places, self._lease_s, bounds, hosts)
        except Exception:
            logger.exception("The outbox of webhooks could not be read")
            return []

    async def _deliver(self, delivery: Delivery) -> None:
        """Send a message and record how that ended; what is not recorded is sent again."""
        try:
            settlement = await self._attempt(delivery)
            await self._store.settle(delivery, settlement)
        except Exception:
            logger.exception("Webhook %s could not be recorded", delivery.id)
            return
        self._settled(_outcome(settlement))
        if not settlement.delivered:
            logger.warning(
                "Webhook %s of job %s was not delivered at attempt %d: %s",
                delivery.id, delivery.job_id, delivery.attempt, settlement.error,
            )  # fmt: skip

    async def _attempt(self, delivery: Delivery) -> Settlement:
        """Send a message once."""
        secrets = await self._store.webhook_secrets(delivery.owner)
        headers = signed_headers(delivery.id, int(time()), delivery.body, secrets)
        began = monotonic()
        try:
            answer = await self._addresses.send(
                "POST", delivery.url, headers, delivery.body.encode()
            )
        except (ServeAppError, NotAnswered) as error:
            return _failure(delivery, str(error.args[0]))
        except Exception:  # of the receiver's making: it must not be tried for ever
            logger.exception("Webhook %s met an unexpected error", delivery.id)
            return _failure(delivery, "an unexpected error, which is in the log")
        finally:
            self._destinations.answered(host_of(delivery.url), monotonic() - began)
        return settlement_of(answer, delivery.attempt)


async def _pause(sending: Collection["asyncio.Task[None]"]) -> None:
    """Wait until a place may be free, or a message due."""
    poll_s = _POLL_S * random.uniform(0.75, 1.25)
    if sending:
        await asyncio.wait(sending, timeout=poll_s, return_when=asyncio.FIRST_COMPLETED)
    else:
        await asyncio.sleep(poll_s)


def _failure(delivery: Delivery, error: str) -> Settlement:
    return Settlement(False, None, error, _retry_in_s(delivery.attempt, None))


def _outcome(settlement: Settlement) -> str:
    if settlement.delivered:
        return "delivered"
    if settlement.disables:
        return "disabled"
    return "failed" if settlement.retry_in_s is None else "retried"


def settlement_of(answer: Answer, attempt: int) -> Settlement:
    """Judge an answer. attempt: number of the attempt, from 1.

    Only 2xx is a success, a redirect is a failure; 410 ends deliveries to this receiver.
    """
    if answer.succeeded:
        return Settlement(True, answer.status)
    error = f"the receiver answered {answer.status}"
    if answer.status == _GONE:
        return Settlement(False, answer.status, error, None, disables=True)
    return Settlement(False, answer.status, error, _retry_in_s(attempt, answer.retry_after_s))


def _retry_in_s(attempt: int, retry_after_s: float | None) -> float | None:
    """Compute the seconds until the next attempt, at least those that the receiver asks for.

    None after the last one.
    """
    if attempt >= len(DELAYS_S):
        return None
    delay_s = DELAYS_S[attempt] * random.uniform(1.0, 1.0 + _JITTER)
    return max(delay_s, min(retry_after_s or 0.0, _MOST_RETRY_AFTER_S))
