"""Where the routes have their music made: a request in, a whole track out, or one that is being made."""

import asyncio
import contextlib
import secrets

from serve_app.config import AUTO, ApiConfig
from serve_app.errors import GenerationFailed, InvalidRequest, ModelLoading, QueueFull
from serve_app.gateway.cold_starts import ColdStarts
from serve_app.gateway.estimate import expected_s
from serve_app.gateway.generator import Generator
from serve_app.gateway.routing import ModelRouter
from serve_app.gateway.track import LiveTrack, Track
from serve_app.types import GenerationRequest, LoadedModel, ModelCard, ReplicaStatus

_AUTO_WAIT_S = 60.0


class GenerationService:
    """The generator behind the models' names and the API's limits."""

    def __init__(self, generator: Generator, router: ModelRouter, config: ApiConfig) -> None:
        self.generator, self.router, self.config = generator, router, config
        self._cold_starts = ColdStarts()

    async def start_track(self, request: GenerationRequest) -> LiveTrack:
        """Wait for the piece's first audio, or its first progress where that is asked for. Raises ServeAppError.

        Where the model's queue is full, the next of its fallbacks makes the piece.
        """
        card = self.router.resolve(request.model)
        *others, last = (card.model_id, *card.fallbacks)
        for model_id in others:
            with contextlib.suppress(QueueFull):
                return await self._start(request, model_id)
        return await self._start(request, last)

    async def make_track(self, request: GenerationRequest) -> Track:
        """Generate the whole piece. Raises ServeAppError."""
        return await (await self.start_track(request)).finish()

    async def make_tracks(self, request: GenerationRequest, count: int) -> list[Track]:
        """Variations, of the request's seed and the next ones. Where one fails, all do. Raises ServeAppError."""
        first = secrets.randbits(32) if request.sampling.seed is None else request.sampling.seed
        samplings = [request.sampling.model_copy(update={"seed": first + i}) for i in range(count)]
        variations = [request.model_copy(update={"sampling": sampling}) for sampling in samplings]
        tasks = [asyncio.create_task(self.make_track(variation)) for variation in variations]
        try:
            return await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def choose(
        self, name: str | None, duration_s: float, max_wait_s: float | None
    ) -> ModelCard:
        """The model of that name; for `auto`, the largest that is expected to have made the piece within `max_wait_s`,
        or the quickest.

        Raises ModelNotFound; ModelLoading where nobody is ready whom the caller would wait for; QueueFull where the
        model is expected to take longer than `max_wait_s`.
        """
        if name == AUTO:
            return await self._largest_within(duration_s, max_wait_s or _AUTO_WAIT_S)
        card = self.router.resolve(name)
        if max_wait_s is not None:
            await self._check_wait(card, duration_s, max_wait_s)
        return card

    async def _largest_within(self, duration_s: float, max_wait_s: float) -> ModelCard:
        replicas = await asyncio.gather(*(self.replicas(card) for card in self.router.cards))
        expected = [expected_s(ready, duration_s) for ready in replicas]
        candidates = [
            c for c in zip(self.router.cards, replicas, expected, strict=True) if c[2] is not None
        ]
        if not candidates:
            raise self.loading(
                self.router.default,
                "No model that makes a piece so long is ready yet. Send it again later.",
            )
        in_time = [
            (card, ready)
            for card, ready, wait_s in candidates
            if wait_s is not None and wait_s <= max_wait_s
        ]
        if not in_time:
            return min(candidates, key=lambda candidate: candidate[2] or 0.0)[0]
        return max(in_time, key=lambda candidate: candidate[1][0].model.parameters)[0]

    async def _check_wait(self, card: ModelCard, duration_s: float, max_wait_s: float) -> None:
        replicas = await self.replicas(card)
        if not replicas:
            raise self.loading(card, f"Model '{card.model_id}' is starting. Send it again later.")
        wait_s = expected_s(replicas, duration_s)
        if wait_s is not None and wait_s > max_wait_s:
            detail = f"The piece would take about {wait_s:.0f} s, longer than max_wait_s. Send it again later."
            raise QueueFull(detail, wait_s - max_wait_s)

    async def replicas(self, card: ModelCard) -> list[ReplicaStatus]:
        """Those of the model that are ready."""
        replicas = await self.generator.replicas(card.model_id)
        if replicas:
            self._cold_starts.is_ready(card.model_id)
        return replicas

    def loading(self, card: ModelCard, detail: str) -> ModelLoading:
        """The error for who does not wait for a model that has no replica; it is woken."""
        self.generator.wake(card.model_id)
        return ModelLoading(detail, self._cold_starts.remaining_s(card.model_id))

    async def _start(self, request: GenerationRequest, model_id: str) -> LiveTrack:
        request = request.model_copy(update={"model": model_id})
        chunks = self.generator.generate(request)
        first = await anext(chunks, None)
        if first is None:
            raise GenerationFailed("the model's audio ended too early")
        self._cold_starts.is_ready(model_id)
        return LiveTrack(request, self.router.resolve(model_id), first, chunks)

    def check_prompt(self, prompt: str, *, needed: bool = True) -> str:
        """The prompt without surrounding space. Raises InvalidRequest when it is empty though it is needed, too long or
        not text."""
        prompt = prompt.strip()
        if any("\ud800" <= character <= "\udfff" for character in prompt):
            raise InvalidRequest("Prompt must be valid Unicode: it has half of a surrogate pair")
        if needed and not prompt:
            raise InvalidRequest("Prompt is required and cannot be empty")
        if len(prompt) > self.config.max_prompt_chars:
            raise InvalidRequest(
                f"Prompt must be at most {self.config.max_prompt_chars} characters long"
            )
        return prompt

    async def loaded(self, card: ModelCard) -> LoadedModel | None:
        """What a replica of the model knows of it; None while no replica is ready."""
        replicas = await self.replicas(card)
        return replicas[0].model if replicas else None
