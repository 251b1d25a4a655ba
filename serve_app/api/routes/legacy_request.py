"""Requests of the serverless function and the local server, with their contracts' sentences.

Callers show these sentences to people, so they are kept to the letter.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from serve_app.errors import InvalidRequest
from serve_app.gateway.routing import ModelRouter
from serve_app.gateway.service import GenerationService
from serve_app.model_status import ModelCard
from serve_app.types import ENCODEC, MULTIBAND_DIFFUSION, Decoder

MELODY = "melody_audio_base64"
DECODERS = ("default", MULTIBAND_DIFFUSION)
BODY_SCHEMA = {
    "type": "object",
    "required": ["prompt"],
    "properties": {
        "prompt": {"type": "string", "description": "Text that describes the music."},
        "duration": {
            "type": "number",
            "minimum": 1,
            "maximum": 30,
            "default": 30,
            "description": "Duration in seconds.",
        },
        "temperature": {"type": "number", "minimum": 0.1, "maximum": 2.0, "default": 1.0},
        "model": {"type": "string", "description": "Id or alias of a served model."},
        "decoder": {"type": "string", "enum": list(DECODERS), "default": "default"},
        "melody_audio_base64": {
            "type": ["string", "null"],
            "description": "File of audio whose melody the track follows, in base64 or as a data URL, "
            "for models that take one; the prompt may then be empty.",
        },
    },
}


@dataclass(frozen=True)
class LegacyRequest:
    """A checked request.

    duration: as the caller wrote it, because answers repeat it; melody: base64; model_name: as the
    caller wrote it.
    """

    prompt: str
    duration: int | float
    temperature: float
    model: ModelCard
    decoder: str
    melody: str | None = None
    model_name: str | None = None

    @property
    def decoder_of_codes(self) -> Decoder:
        """The decoder by this project's own name."""
        return MULTIBAND_DIFFUSION if self.decoder == MULTIBAND_DIFFUSION else ENCODEC

    @classmethod
    def parse(
        cls, body: Any, service: GenerationService, model_fields: Sequence[str]
    ) -> "LegacyRequest":
        """Check a body against the contract. Raises InvalidRequest with the contract's sentences.

        model_fields: the fields that may name the model; the first one present wins.
        """
        if not isinstance(body, dict):
            raise InvalidRequest("Request body must be a JSON object")
        prompt = body.get("prompt")
        text = prompt if isinstance(prompt, str) else ""
        melody = body.get(MELODY)
        name = _model_name(body, service.router, model_fields)
        model = service.router.resolve(name)
        return cls(
            prompt=service.check_prompt(text, required=melody is None),
            duration=_number(
                body.get("duration", 30), 1, 30, "Duration must be between 1 and 30 seconds"
            ),
            temperature=float(
                _number(
                    body.get("temperature", 1.0),
                    0.1,
                    2.0,
                    "Temperature must be between 0.1 and 2.0",
                )
            ),
            model=model,
            decoder=_decoder(body.get("decoder", "default"), model, service.router),
            melody=None if melody is None else _melody(melody),
            model_name=name,
        )


def _number(value: object, low: float, high: float, sentence: str) -> int | float:
    """Return a number between `low` and `high`; else raise InvalidRequest with `sentence`."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise InvalidRequest(sentence)
    return value


def _model_name(body: dict[str, Any], router: ModelRouter, fields: Sequence[str]) -> str | None:
    name = next((body[field] for field in fields if body.get(field) is not None), None)
    if name is not None and name not in router.names:
        raise InvalidRequest(f"Invalid model. Must be one of: {router.names}")
    return name


def _melody(text: object) -> str:
    if not isinstance(text, str):
        raise InvalidRequest(f"{MELODY} must be a file of audio in base64")
    return text


def _decoder(name: object, model: ModelCard, router: ModelRouter) -> str:
    """Return the decoder's name. Raises DecoderUnavailable for one that the model lacks."""
    if name not in DECODERS:
        raise InvalidRequest("Invalid decoder. Must be 'default' or 'multiband_diffusion'")
    if name == MULTIBAND_DIFFUSION:
        router.check_decoder(model, MULTIBAND_DIFFUSION, "default")
    return str(name)
