"""Checks of a job when it is accepted: those of a generation, with the same errors.

A replica counts the prompt's tokens, and knows the model's window. While none is ready, or where
none answers soon, the job is accepted, and fails with the same error.
"""

from dataclasses import dataclass

from serve_app.config.app import AUTO
from serve_app.config.jobs import JobsConfig
from serve_app.errors import DurationTooLong, InvalidRequest, ModelLoading
from serve_app.gateway.limits import Limits
from serve_app.gateway.service import GenerationService
from serve_app.jobs.addresses import Addresses
from serve_app.jobs.intake import Submission, check_storable, checking
from serve_app.jobs.job import JobRequest
from serve_app.jobs.model_limits import check_model_limits
from serve_app.jobs.parts import read_melody
from serve_app.model_status import ModelCard
from serve_app.types import MAX_SEED


@dataclass(frozen=True)
class Acceptance:
    """The rules for new jobs. limits: of API keys; addresses: of webhooks and uploads."""

    generation: GenerationService
    limits: Limits
    addresses: Addresses
    config: JobsConfig

    async def check(self, submission: Submission) -> JobRequest:
        """Check a job; return its request with the model resolved and the prompt stripped.

        Raises ServeAppError; an InvalidRequest names the field of the job in `field`.
        """
        await self._check_job(submission)
        request = submission.request
        has_audio = submission.audio_prompt is not None or submission.melody is not None
        with checking("prompt"):
            prompt = self.generation.check_prompt(request.prompt, required=not has_audio)
        card = await self._select(submission)
        with checking("duration_s"):
            await self._check_duration(request, card)
        with checking("response_format"):
            await self.generation.check_file(card, request.encoding())
        used_s = None
        if submission.audio_prompt is not None:
            with checking("audio_prompt"):
                audio_s = submission.audio_prompt_s or await self._audio_s(
                    submission.audio_prompt, card
                )
                used_s = _check_part(audio_s, request)
        if submission.melody is not None:
            with checking("melody"):
                await read_melody(self.generation, submission.melody, request, card)
        checked = request.model_copy(update={"prompt": prompt})
        await check_model_limits(self.generation.readiness, card, checked, used_s)
        return request.model_copy(update={"model": card.model_id, "prompt": prompt})

    async def _check_job(self, submission: Submission) -> None:
        """Check what a generation does not have."""
        check_storable("metadata", submission.metadata)
        check_storable("input", submission.details)
        self._check_expiry(submission.expires_in_s)
        request = submission.request
        if request.seed + request.n - 1 > MAX_SEED:
            raise InvalidRequest(
                f"seed must be at most {MAX_SEED + 1 - request.n} for n variations", field="seed"
            )
        if submission.upload is not None and request.n > 1:
            raise InvalidRequest(
                "upload takes one file: leave it out, or ask for n = 1", field="upload"
            )
        for field, address in (("webhook", submission.webhook), ("upload", submission.upload)):
            if address is not None:
                with checking(field):
                    await self.addresses.check(address.url)

    def _check_expiry(self, expires_in_s: float | None) -> None:
        if expires_in_s is not None and expires_in_s > self.config.max_kept_s:
            raise InvalidRequest(
                f"expires_in_s is {expires_in_s:g}, and this service keeps results for at most "
                f"{self.config.max_kept_s:g} seconds",
                field="expires_in_s",
            )

    async def _select(self, submission: Submission) -> ModelCard:
        """Resolve the model. `auto` without a ready model is the default, or another that may take the
        melody, which the job waits for."""
        name = submission.request.model or None
        duration_s = submission.request.duration_s
        decoder = submission.request.decoder
        with_melody = submission.melody is not None
        selector = self.generation.selector
        try:
            return await selector.select(
                name, duration_s, submission.max_wait_s, decoder, with_melody=with_melody
            )
        except ModelLoading:
            if name != AUTO or submission.max_wait_s is not None:
                raise
            return await selector.awaited(decoder, with_melody=with_melody)

    async def _check_duration(self, request: JobRequest, card: ModelCard) -> None:
        self.limits.check_size(request.duration_s)
        replicas = await self.generation.readiness.known_replicas(card)
        if replicas and request.duration_s > replicas[0].model.max_duration_s:
            raise DurationTooLong.of(request.duration_s, replicas[0].model.max_duration_s)

    async def _audio_s(self, content: bytes, card: ModelCard) -> float:
        """Decode an audio prompt for its seconds. Raises InvalidAudio."""
        return (await self.generation.audio_prompts.read(content, card)).duration_s


def _check_part(audio_s: float, request: JobRequest) -> float:
    """Check that an audio prompt of `audio_s` seconds has its part, which leaves something to make.

    Returns the seconds of the part.
    """
    end_s = min(audio_s, request.audio_prompt_end_s or audio_s)
    used_s = end_s - request.audio_prompt_start_s
    if used_s <= 0:
        raise InvalidRequest(
            f"The audio prompt has {audio_s:g} seconds, and nothing from "
            f"{request.audio_prompt_start_s:g} to {end_s:g} seconds"
        )
    if used_s >= request.duration_s:
        raise InvalidRequest(
            f"The audio prompt has {used_s:g} seconds, and the track {request.duration_s:g}: "
            "ask for a longer track"
        )
    return used_s
