"""Selection of the model for a request: by name, or the largest that is quick enough."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from serve_app.config.app import AUTO
from serve_app.errors import ModelLoading, QueueFull
from serve_app.gateway.estimate import expected_s
from serve_app.gateway.melody_models import MelodyModels
from serve_app.gateway.readiness import Readiness
from serve_app.gateway.routing import ModelRouter
from serve_app.model_status import ModelCard, ReplicaStatus
from serve_app.types import ENCODEC, Decoder

_AUTO_WAIT_S = 60.0


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A model with replicas for the track, and the estimated seconds until the track ends."""

    card: ModelCard
    parameters: int
    expected_s: float


class ModelSelector:
    """Resolves the name of a request's model, once, and holds it to the caller's `max_wait_s`."""

    def __init__(self, router: ModelRouter, readiness: Readiness) -> None:
        self._router = router
        self._readiness = readiness
        self.melody_models = MelodyModels(router, readiness)

    async def select(
        self,
        name: str | None,
        duration_s: float,
        max_wait_s: float | None,
        decoder: Decoder = ENCODEC,
        *,
        with_melody: bool = False,
    ) -> ModelCard:
        """Find the model of that name.

        For `auto`: the largest that is expected to finish a track of `duration_s` within
        `max_wait_s`, else the quickest. Only models with the decoder are taken, and with_melody only
        those that may take a melody.

        Raises ModelNotFound; DecoderUnavailable; MelodyNotSupported; with a `max_wait_s`, ModelLoading
        when no replica is ready, and QueueFull when the track is expected to take longer.
        """
        if name == AUTO:
            cards = await self._possible(decoder, with_melody)
            return await self._select_largest(cards, duration_s, max_wait_s or _AUTO_WAIT_S)
        card = self._router.resolve(name)
        self._router.check_decoder(card, decoder)
        if with_melody:
            await self.melody_models.check(card, name)
        if max_wait_s is not None:
            await self._check_wait(card, duration_s, max_wait_s)
        return card

    async def awaited(self, decoder: Decoder = ENCODEC, *, with_melody: bool = False) -> ModelCard:
        """Find the model to wait for while none is ready: the default, if it can make the track.

        Raises DecoderUnavailable, MelodyNotSupported.
        """
        return self._preferred(await self._possible(decoder, with_melody))

    async def _possible(self, decoder: Decoder, with_melody: bool) -> Sequence[ModelCard]:
        cards = self._router.with_decoder(decoder)
        return await self.melody_models.possible(cards) if with_melody else cards

    def _preferred(self, cards: Sequence[ModelCard]) -> ModelCard:
        return self._router.default if self._router.default in cards else cards[0]

    async def _select_largest(
        self, cards: Sequence[ModelCard], duration_s: float, max_wait_s: float
    ) -> ModelCard:
        replicas = await asyncio.gather(*(self._readiness.recent(card) for card in cards))
        candidates = [
            candidate
            for card, ready in zip(cards, replicas, strict=True)
            if (candidate := _candidate(card, ready, duration_s)) is not None
        ]
        if not candidates:
            raise ModelLoading(
                "No model that makes a track of this length is ready. "
                "Send the request again later.",
                self._readiness.wake(self._preferred(cards)),
            )
        in_time = [candidate for candidate in candidates if candidate.expected_s <= max_wait_s]
        if in_time:
            return max(in_time, key=lambda candidate: candidate.parameters).card
        return min(candidates, key=lambda candidate: candidate.expected_s).card

    async def _check_wait(self, card: ModelCard, duration_s: float, max_wait_s: float) -> None:
        replicas = await self._readiness.recent(card)
        if not replicas:
            raise ModelLoading(
                f"Model '{card.model_id}' is loading. Send the request again later.",
                self._readiness.wake(card),
            )
        wait_s = expected_s(replicas, duration_s)
        if wait_s is not None and wait_s > max_wait_s:
            raise QueueFull(
                f"The track would take about {wait_s:.0f} s, longer than max_wait_s. "
                "Send the request again later.",
                wait_s - max_wait_s,
            )


def _candidate(
    card: ModelCard, replicas: list[ReplicaStatus], duration_s: float
) -> _Candidate | None:
    wait_s = expected_s(replicas, duration_s)
    return None if wait_s is None else _Candidate(card, replicas[0].model.parameters, wait_s)
