"""Where the routes have their music made: a request in, a whole track out, or one that is being made."""

import asyncio
import contextlib
import secrets

from serve_app.api.backend import Backend
from serve_app.api.estimate import expected_s
from serve_app.api.routing import ModelRouter
from serve_app.api.track import LiveTrack, Track
from serve_app.config import AUTO, ApiConfig
from serve_app.errors import GenerationFailed, InvalidRequest, ModelLoading, QueueFull
from serve_app.types import GenerationRequest, LoadedModel, ModelCard


class Studio:
    """The backend behind the models' names and the API's limits."""

    def __init__(self, backend: Backend, router: ModelRouter, config: ApiConfig) -> None:
        self.backend, self.router, self.config = backend, router, config

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

    async def choose(self, name: str | None, duration_s: float, max_wait_s: float) -> ModelCard:
        """The model of that name; for `auto`, the largest that is expected to have made the piece within `max_wait_s`,
        or the quickest. Raises ModelNotFound, and ModelLoading while `auto` has no model to choose."""
        if name != AUTO:
            return self.router.resolve(name)
        replicas = await asyncio.gather(*(self.backend.replicas(card.model_id) for card in self.router.cards))
        expected = [expected_s(ready, duration_s) for ready in replicas]
        candidates = [c for c in zip(self.router.cards, replicas, expected, strict=True) if c[2] is not None]
        if not candidates:
            self.backend.wake(self.router.default.model_id)
            raise ModelLoading("No model that makes a piece so long is ready yet. Send it again later.")
        in_time = [(card, ready) for card, ready, wait_s in candidates if wait_s is not None and wait_s <= max_wait_s]
        if not in_time:
            return min(candidates, key=lambda candidate: candidate[2] or 0.0)[0]
        return max(in_time, key=lambda candidate: candidate[1][0].model.parameters)[0]

    async def _start(self, request: GenerationRequest, model_id: str) -> LiveTrack:
        request = request.model_copy(update={"model": model_id})
        chunks = self.backend.generate(request)
        first = await anext(chunks, None)
        if first is None:
            raise GenerationFailed("the model's audio ended too early")
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
            raise InvalidRequest(f"Prompt must be at most {self.config.max_prompt_chars} characters long")
        return prompt

    async def loaded(self, card: ModelCard) -> LoadedModel | None:
        """What a replica of the model knows of it; None while no replica is ready."""
        replicas = await self.backend.replicas(card.model_id)
        return replicas[0].model if replicas else None
