"""Inputs of predictions: from the fields of MusicGen to a job."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from serve_app.api.errors import InvalidInput
from serve_app.api.schemas.replicate import MusicGenInput, PredictionBody, WebhookFilter
from serve_app.api.uploaded_audio import audio_content
from serve_app.errors import InvalidAudio, InvalidRequest, ServeAppError
from serve_app.jobs.addresses import Addresses, NotAnswered
from serve_app.jobs.job import EventName, JobRequest, Webhook
from serve_app.types import ENCODEC, MULTIBAND_DIFFUSION

_DATA_URL = re.compile(r"data:[^,]{0,200};base64,", re.ASCII)
_SHOWN_CHARS = 2048  # of a text in the input that answers repeat
_EVENTS: dict[WebhookFilter, EventName] = {
    "start": "started", "logs": "progress", "output": "completed", "completed": "completed",
}  # fmt: skip
_FIELDS = {  # of a job's
    "prompt": "input.prompt", "duration_s": "input.duration", "audio_prompt": "input.input_audio",
    "melody": "input.input_audio", "response_format": "input.output_format", "webhook": "webhook",
    "decoder": "input.multi_band_diffusion",
}  # fmt: skip
_MOST_S = 3600.0  # of a track
_ALL: tuple[WebhookFilter, ...] = ("start", "logs", "output", "completed")


_Body = TypeVar("_Body", bound=BaseModel)


class UploadedFiles(Protocol):
    """Files of `/v1/files`, and outputs."""

    async def content_at(self, owner: str, url: str) -> bytes | None:
        """Read the file that an address of this service names; None: it names none."""
        ...


def parsed(schema: type[_Body], fields: Any, prefix: str = "") -> _Body:
    """Validate fields. Raises InvalidInput, which names each field at fault."""
    try:
        return schema.model_validate(fields)
    except ValidationError as error:
        failures = [_failure(one, prefix) for one in error.errors()]
        raise InvalidInput("; ".join(failures)) from error


def _failure(error: ErrorDetails, prefix: str) -> str:
    """Tell a failure with its field; the rules of this service name theirs in the message."""
    place = ".".join(map(str, error["loc"]))
    if not place and error["type"] == "value_error":
        return error["msg"].removeprefix("Value error, ")
    return f"{prefix}{place or 'body'}: {error['msg']}"


@contextmanager
def as_invalid_input(body: PredictionBody) -> Iterator[None]:
    """Turn each InvalidRequest into InvalidInput, which names the prediction's field."""
    try:
        yield
    except InvalidInput:
        raise
    except InvalidRequest as error:
        field = _FIELDS.get(error.field or "")
        if field == "webhook" and body.webhook is None:
            field = "webhook_completed"
        named = error.message if field is None else f"{field}: {error.message}"
        raise InvalidInput(named) from error


def check_supported(wanted: MusicGenInput) -> None:
    """Refuse what the service cannot do. Raises InvalidInput."""
    if wanted.input_audio is None:
        if wanted.continuation:
            raise InvalidInput("input.continuation: true needs input_audio")
        if not wanted.prompt.strip():
            raise InvalidInput("input.prompt: is required without input_audio")
    end = wanted.continuation_end
    if end is not None and 0 <= end <= wanted.continuation_start:
        raise InvalidInput("input.continuation_end: must be above continuation_start")
    if wanted.input_audio is None and (part := wanted.named_part):
        raise InvalidInput(f"input.{part}: needs input_audio, of which it names a part")


async def input_audio(
    owner: str, address: str, files: UploadedFiles, addresses: Addresses, most_bytes: int
) -> bytes:
    """Read the audio that an input names. Raises InvalidInput."""
    if _DATA_URL.match(address):
        try:
            return await audio_content(address)
        except InvalidAudio as error:
            raise InvalidInput("input.input_audio: is not valid base64") from error
    content = await files.content_at(owner, address)
    return content if content is not None else await _fetched(address, addresses, most_bytes)


async def _fetched(address: str, addresses: Addresses, most_bytes: int) -> bytes:
    """Fetch a file from elsewhere. Raises InvalidInput."""
    try:
        answer = await addresses.send("GET", address, {}, b"", most_bytes + 1)
    except (ServeAppError, NotAnswered) as error:
        raise InvalidInput(f"input.input_audio: {error.args[0]}") from error
    if not answer.succeeded:
        raise InvalidInput(f"input.input_audio: its address answered {answer.status}")
    if len(answer.content) > most_bytes:
        raise InvalidInput(f"input.input_audio: must have at most {most_bytes} bytes")
    return answer.content


def job_request(wanted: MusicGenInput, model_id: str, audio_s: float | None) -> JobRequest:
    """Translate an input.

    audio_s: seconds of the file to continue. As in Replicate's model, `duration` comes after it, and a
    melody may be a part of its file, too. Raises InvalidInput.
    """
    start_s = 0.0 if audio_s is None else float(wanted.continuation_start)
    end_s = None if audio_s is None else _end_s(wanted, audio_s)
    kept_s = max(0.0, (end_s or 0.0) - start_s)
    _check_part(wanted, audio_s, kept_s)
    return JobRequest(
        model=model_id,
        prompt=wanted.prompt,
        duration_s=wanted.duration + kept_s,
        audio_prompt_start_s=start_s,
        audio_prompt_end_s=end_s,
        decoder=MULTIBAND_DIFFUSION if wanted.multi_band_diffusion else ENCODEC,
        melody_start_s=float(wanted.continuation_start) if wanted.is_melody else 0.0,
        melody_end_s=_named_end_s(wanted) if wanted.is_melody else None,
        temperature=wanted.temperature,
        top_k=wanted.top_k,
        top_p=wanted.top_p,
        cfg_coef=wanted.classifier_free_guidance,
        seed=wanted.drawn_seed,
        response_format=wanted.output_format,
        normalization=wanted.normalization_strategy,
    )


def _check_part(wanted: MusicGenInput, audio_s: float | None, kept_s: float) -> None:
    """Refuse a part beyond the file, and a track that is too long with it. Raises InvalidInput."""
    if audio_s is not None and not kept_s:
        raise InvalidInput(
            f"input.continuation_start: is {wanted.continuation_start}, and input_audio has "
            f"{audio_s:g} seconds"
        )
    if wanted.duration + kept_s > _MOST_S:
        raise InvalidInput(
            f"input.duration: is {wanted.duration}, which with {kept_s:g} seconds of input_audio "
            f"exceeds {_MOST_S:g}"
        )


def _end_s(wanted: MusicGenInput, audio_s: float) -> float:
    """Second at which the part to continue ends: at most the file's end."""
    end_s = _named_end_s(wanted)
    return audio_s if end_s is None else min(end_s, audio_s)


def _named_end_s(wanted: MusicGenInput) -> float | None:
    """Second at which the part of the file ends; None: at the file's end."""
    end = wanted.continuation_end
    return None if end is None or end == -1 else float(end)


def webhook_of(body: PredictionBody) -> Webhook | None:
    """Translate a webhook with its filter; all changes without one."""
    url = body.webhook or body.webhook_completed
    if url is None:
        return None
    filters = body.webhook_events_filter or (_ALL if body.webhook else ("completed",))
    events = tuple(dict.fromkeys(_EVENTS[one] for one in filters))
    return Webhook(url=url, events=events, dialect="replicate")


def shown_input(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the input as answers repeat it: without the bytes of data URLs and long texts."""
    return {name: _shown(value) for name, value in fields.items()}


def _shown(value: Any) -> Any:
    if isinstance(value, str) and value.startswith("data:"):
        return f"{value.partition(',')[0]},... ({len(value)} characters)"
    return value[:_SHOWN_CHARS] if isinstance(value, str) else value
