"""The service that routes and jobs stand on: requests in, tracks out, finished or being made."""

import asyncio
from collections.abc import Callable

from serve_app.audio.file_format import Encoding
from serve_app.audio.workers import AudioWorkers
from serve_app.config.api import ApiConfig
from serve_app.errors import (
    DecoderUnavailable,
    GenerationFailed,
    MelodyNotSupported,
    QueueFull,
)
from serve_app.gateway.audio_prompts import AudioPrompts
from serve_app.gateway.generator import Generator
from serve_app.gateway.marking import Marking
from serve_app.gateway.observer import RequestObserver, code_of, observed
from serve_app.gateway.prompt import check_prompt
from serve_app.gateway.readiness import Readiness
from serve_app.gateway.routing import ModelRouter
from serve_app.gateway.selection import ModelSelector
from serve_app.gateway.track import LiveTrack, Track
from serve_app.model_status import ModelCard
from serve_app.types import ENCODEC, GenerationRequest


class GenerationService:
    """Makes tracks with the models of `router`, through `generator`."""

    def __init__(
        self,
        generator: Generator,
        router: ModelRouter,
        readiness: Readiness,
        config: ApiConfig,
        observer: RequestObserver,
        workers: AudioWorkers | None = None,
        marking: Marking | None = None,
    ) -> None:
        self.router = router
        self.readiness = readiness
        self.selector = ModelSelector(router, readiness)
        self.audio_prompts = AudioPrompts(
            workers or AudioWorkers(), readiness, config.max_audio_prompt_s, config.max_melody_s
        )
        self.config = config
        self._marking = marking or Marking()
        self._generator = generator
        self._observer = observer

    async def start_track(self, request: GenerationRequest, card: ModelCard) -> LiveTrack:
        """Start a track whose audio is played while it is made. Raises ServeAppError.

        Returns once there is audio, or progress if the request asks for that.
        """
        if request.decoder != ENCODEC:
            raise DecoderUnavailable.of_stream(request.decoder)
        return await self._start_one_of(request.model_copy(update={"streamed": True}), card)

    async def _start_one_of(self, request: GenerationRequest, card: ModelCard) -> LiveTrack:
        """Start a track by the model of `card`, or by its next fallback while a queue is full."""
        first, *fallbacks = self.router.with_fallbacks(card, request.decoder)
        if request.melody is not None:
            fallbacks = await self.selector.melody_models.with_melody(fallbacks)
        *others, last = first, *fallbacks
        refusals: list[tuple[str, str]] = []  # models and codes
        for model in others:
            try:
                track = await self._start(request, model)
                break
            except QueueFull as error:
                refusals.append((model.model_id, code_of(error)))
        else:
            track = await self._start(request, last)
        for model_id, code in refusals:
            self._observer.fell_back(model_id, code)
        return track

    async def make_track(self, request: GenerationRequest, card: ModelCard) -> Track:
        """Make a whole track. Raises ServeAppError."""
        return await (await self._start_one_of(request, card)).finish()

    async def make_background_track(
        self, request: GenerationRequest, card: ModelCard, made: Callable[[float], None]
    ) -> Track:
        """Make a whole track by this very model, behind interactive requests. Raises ServeAppError.

        made: called with the seconds of audio made so far.
        """
        live = await self._start(request.model_copy(update={"background": True}), card)
        return await live.finish(made)

    async def make_tracks(
        self, request: GenerationRequest, card: ModelCard, count: int
    ) -> list[Track]:
        """Make variations, with the request's seed and the following ones. When one fails, all do.

        Raises ServeAppError.
        """
        tasks = [
            asyncio.create_task(self.make_track(variation(request, index), card))
            for index in range(count)
        ]
        try:
            return await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def check_prompt(self, prompt: str, *, required: bool = True) -> str:
        """Return the prompt without surrounding whitespace. Raises InvalidRequest."""
        return check_prompt(prompt, self.config.max_prompt_chars, required=required)

    async def check_file(
        self,
        card: ModelCard,
        encoding: Encoding,
        *,
        streamed: bool = False,
        detachable: bool = False,
        offers_json: bool = False,
    ) -> None:
        """Refuse a file that would lack a configured mark, and a bit rate that the model's channels
        exclude, if a replica is ready to tell them.

        streamed, detachable, offers_json: as of Marking.check. Raises InvalidRequest and SigningFailed.
        """
        self._marking.check(
            encoding.file_format, streamed=streamed, detachable=detachable, offers_json=offers_json
        )
        if not encoding.needs_two_channels:
            return
        loaded = await self.readiness.loaded(card)
        if loaded is not None:
            encoding.check_channels(loaded.channels)

    def signs(self, encoding: Encoding, *, streamed: bool) -> bool:
        """Whether such files of tracks carry a signed manifest."""
        return self._marking.signs(encoding.file_format, streamed=streamed)

    async def _start(self, request: GenerationRequest, card: ModelCard) -> LiveTrack:
        request = request.model_copy(update={"model": card.model_id})
        items = observed(self._generator.generate(request), request, card, self._observer)
        try:
            first = await anext(items, None)
        except MelodyNotSupported as error:  # of a model of which no replica had told it
            raise await self.selector.melody_models.refusal(card) from error
        if first is None:
            raise GenerationFailed("the model's audio ended too early")
        self.readiness.record_answer(card)
        return LiveTrack(request, card, first, items, self._marking)


def variation(request: GenerationRequest, index: int) -> GenerationRequest:
    """The request for a further variation. index: 0 for the first, which has the request's seed."""
    seed = request.sampling.seed + index
    sampling = request.sampling.model_copy(update={"seed": seed})
    return request.model_copy(update={"sampling": sampling})
