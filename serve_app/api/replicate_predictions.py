"""Predictions of Replicate's clients on jobs."""

import asyncio
import base64
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

from fastapi import Request
from fastapi.sse import format_sse_event

from serve_app.api.base_url import base_url
from serve_app.api.errors import InvalidInput
from serve_app.api.idempotency import body_sha256, idempotency_key
from serve_app.api.replicate_files import OwnFiles
from serve_app.api.replicate_input import (
    as_invalid_input,
    check_supported,
    input_audio,
    job_request,
    parsed,
    shown_input,
    webhook_of,
)
from serve_app.api.replicate_models import NamedModel, ReplicateModels
from serve_app.api.schemas.replicate import MusicGenInput, PredictionBody
from serve_app.jobs.errors import ResultExpired
from serve_app.jobs.intake import Submission, check_storable, checking
from serve_app.jobs.job import Job
from serve_app.jobs.prediction import DETAILS, Prediction, logs_of, prediction_of
from serve_app.jobs.service import JobService
from serve_app.jobs.stored_files import StoredFiles
from serve_app.model_status import ModelCard

MOST_DATA_URL_BYTES = 8 * 2**20  # of a file that is sent as a data URL
_DURATION = re.compile(r"(?:(\d{1,3})h)?(?:(\d{1,5})m)?(?:(\d{1,6})s?)?", re.ASCII)
_SHORTEST_S = 5.0  # as Replicate's
_COMMENT = b": waiting\n\n"


@dataclass(frozen=True, slots=True)
class _Repetition:
    """Idempotency key of a request, and the digest that a repetition must have."""

    key: str | None
    sha256: str


@dataclass(frozen=True)
class Predictions:
    """Makes predictions, as jobs, and tells of them."""

    jobs: JobService
    models: ReplicateModels

    @property
    def files(self) -> StoredFiles:
        """Files of `/v1/files`, in the stores of the jobs."""
        return StoredFiles(self.jobs.store, self.jobs.results, self.jobs.links)

    async def create(
        self, request: Request, owner: str, body: PredictionBody, model: NamedModel
    ) -> Job:
        """Accept a prediction, or find that of its idempotency key.

        Raises ServeAppError: InvalidInput where a field is at fault.
        """
        key = idempotency_key(request.headers)
        deadline_s = cancel_after_s(request.headers.get("cancel-after"))
        wish = [body.model_dump(mode="json"), model.name, model.version, deadline_s]
        sha256 = "" if key is None else await asyncio.to_thread(body_sha256, wish)
        earlier = await self.jobs.repeated(owner, key, sha256)
        if earlier is not None:
            return earlier
        with as_invalid_input(body):
            repetition = _Repetition(key, sha256)
            return await self._accepted(request, owner, body, model, repetition, deadline_s)

    async def _accepted(
        self,
        request: Request,
        owner: str,
        body: PredictionBody,
        model: NamedModel,
        repetition: _Repetition,
        deadline_s: float | None,
    ) -> Job:
        """Accept a prediction."""
        wanted = parsed(MusicGenInput, body.input, "input.")
        check_supported(wanted)
        for name, value in body.input.items():
            check_storable(f"input.{name}", value)
        card = self.models.chosen(model, wanted.model_version)
        if wanted.is_melody:
            await self.jobs.generation.selector.melody_models.check(card, wanted.model_version)
        audio = await self._audio(request, owner, wanted)
        prompt = None if wanted.is_melody else audio
        audio_s = None if prompt is None else await self._duration_s(prompt, card)
        told = {"model": model.name, "version": model.version, "input": shown_input(body.input)}
        job, _ = await self.jobs.submit(
            Submission(
                owner=owner,
                request=job_request(wanted, card.model_id, audio_s),
                audio_prompt=prompt,
                audio_prompt_s=audio_s,
                melody=audio if wanted.is_melody else None,
                webhook=webhook_of(body),
                details={"base_url": base_url(request), DETAILS: told},
                deadline_s=deadline_s,
                idempotency_key=repetition.key,
                body_sha256=repetition.sha256,
            )
        )
        return job

    async def describe(self, job: Job) -> Prediction:
        """Describe a prediction. Over plain http, a file up to MOST_DATA_URL_BYTES is a data URL.

        Replicate's clients make a file object of `https:` and `data:` alone.
        """
        prediction = prediction_of(job, self.jobs.links)
        if prediction.output is None or not prediction.output.startswith("http:"):
            return prediction
        return prediction.model_copy(
            update={"output": await self._data_url(job) or prediction.output}
        )

    async def events(self, job: Job) -> AsyncIterator[bytes]:
        """Render a prediction's changes as events: `logs`, then `output` or `error`, and `done`.

        Each has an `id`, without which the client for Python drops it. The events of a prediction
        that is deleted end with `error`, so that a client does not take it for made.
        """
        yield _COMMENT
        number = job.version
        async for changed in self.jobs.changes(job.owner, job.id, 0):
            if changed is None:
                yield _COMMENT
                continue
            number = changed.version
            yield format_sse_event(event="logs", data_str=logs_of(changed), id=f"{number}:logs")
            if changed.status.is_final:
                async for event in self._last_events(changed):
                    yield event
                return
        for event in _failure(number + 1, "the prediction was deleted"):
            yield event

    async def _last_events(self, job: Job) -> AsyncIterator[bytes]:
        prediction = await self.describe(job)
        number = f"{job.version}:"
        reason = "{}"
        if prediction.status == "failed":
            for event in _failure(job.version, prediction.error or "the prediction failed"):
                yield event
            return
        if prediction.status == "canceled":
            reason = '{"reason": "canceled"}'
        elif prediction.output is not None:
            output = prediction.output
            yield format_sse_event(event="output", data_str=output, id=number + "output")
        yield format_sse_event(event="done", data_str=reason, id=number + "done")

    async def _audio(self, request: Request, owner: str, wanted: MusicGenInput) -> bytes | None:
        if wanted.input_audio is None:
            return None
        most_bytes = self.jobs.generation.config.max_upload_bytes
        own = OwnFiles(self.files, self.jobs.links.at(base_url(request)), most_bytes)
        addresses = self.jobs.acceptance.addresses
        return await input_audio(owner, wanted.input_audio, own, addresses, most_bytes)

    async def _duration_s(self, audio: bytes, card: ModelCard) -> float:
        """Decode a file for its seconds. Raises InvalidAudio."""
        with checking("audio_prompt"):
            return (await self.jobs.generation.audio_prompts.read(audio, card)).duration_s

    async def _data_url(self, job: Job) -> str | None:
        """Build the data URL of the file; None for one that is too large, or erased."""
        file = job.results[0]
        if file.key is None or file.size_bytes > MOST_DATA_URL_BYTES:
            return None
        try:
            content = b"".join([block async for block in self.jobs.results.read(file.key)])
        except ResultExpired:
            return None
        encoded = await asyncio.to_thread(base64.b64encode, content)
        return f"data:{file.media_type};base64,{encoded.decode('ascii')}"


def _failure(version: int, text: str) -> list[bytes]:
    """Render the last events of a prediction that failed."""
    return [
        format_sse_event(event="error", data_str=text, id=f"{version}:error"),
        format_sse_event(event="done", data_str='{"reason": "error"}', id=f"{version}:done"),
    ]


def cancel_after_s(header: str | None) -> float | None:
    """Read `Cancel-After`: seconds, or a duration such as `90s`, `5m`, `1h30m`. Raises InvalidInput."""
    if header is None:
        return None
    found = _DURATION.fullmatch(header.strip().lower())
    hours, minutes, seconds = (int(part or 0) for part in found.groups()) if found else (0, 0, 0)
    total_s = 3600.0 * hours + 60.0 * minutes + seconds
    if not _SHORTEST_S <= total_s <= 86_400.0:
        raise InvalidInput(
            "Cancel-After must be a duration from 5s to 24h, such as `90s`, `5m` or `1h30m`"
        )
    return total_s
