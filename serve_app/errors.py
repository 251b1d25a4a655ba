"""The exceptions this package raises on purpose: each has an HTTP status and a stable code.

An error is raised once, where its cause is known, crosses Ray by pickling, and is rendered once, in
`api/error_handlers.py`. Messages are written for callers: they name no path and carry no traceback.
"""

import math
from typing import Any, ClassVar


class ServeAppError(Exception):
    """Base of this package's errors.

    status: HTTP status; code: stable name for machines; title: its short meaning; retryable: whether
    the request may succeed later; retry_after_s: seconds until then; None: unknown.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    title: ClassVar[str] = "Unexpected error in the service"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message.encode("utf-8", "replace").decode())  # may quote a lone surrogate
        self.retry_after_s = retry_after_s

    @property
    def message(self) -> str:
        return str(self.args[0])

    @property
    def problem_details(self) -> dict[str, Any]:
        """Members of the answer (RFC 9457)."""
        return {
            "type": "about:blank",
            "title": self.title,
            "status": self.status,
            "detail": self.message,
            "code": self.code,
        }

    @property
    def headers(self) -> dict[str, str]:
        """`Retry-After` of a retryable error, in whole seconds, at least 1."""
        if not self.retryable:
            return {}
        return {"retry-after": str(max(1, math.ceil(self.retry_after_s or 1.0)))}


class InvalidRequest(ServeAppError):
    """field: name of the field at fault, as in this project's own API; None: not known, or several."""

    status = 400
    code = "invalid_request"
    title = "The request is not valid"
    field: str | None = None

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field or self.field

    @property
    def problem_details(self) -> dict[str, Any]:
        """The members, with the field at fault in `errors` where one is known."""
        errors = [{"field": self.field, "message": self.message}]
        return super().problem_details | ({"errors": errors} if self.field else {})


class PromptTooLong(InvalidRequest):
    field = "prompt"
    code = "prompt_too_long"
    title = "The prompt has more tokens than the text encoder takes"


class DurationTooLong(InvalidRequest):
    field = "duration_s"
    code = "duration_too_long"
    title = "The requested duration exceeds the model's maximum"

    @classmethod
    def of(cls, wanted_s: float, most_s: float) -> "DurationTooLong":
        """Build the error of a track of `wanted_s` seconds where the model makes up to `most_s`."""
        return cls(f"{wanted_s:g} seconds were asked for, but this model makes up to {most_s:g}.")


def stride_too_long(window_s: float) -> InvalidRequest:
    """Build the error of a stride that leaves nothing of the model's window to continue from."""
    return InvalidRequest(
        f"extend_stride_s must be less than this model's window of {window_s:g} seconds.",
        field="extend_stride_s",
    )


def audio_prompt_too_long(audio_s: float, wanted_s: float, window_s: float) -> InvalidRequest:
    """Build the error of an audio prompt that leaves nothing to make, or fills the model's window."""
    return InvalidRequest(
        f"The audio prompt lasts {audio_s:g} seconds. It must be shorter than the whole track "
        f"({wanted_s:g}) and than this model's window ({window_s:g})."
    )


class InvalidAudio(InvalidRequest):
    """decoded_s: seconds that were decoded before the fault was found."""

    decoded_s: float = 0.0
    code = "invalid_audio"
    title = "The uploaded audio cannot be used"


class FormatNotSigned(InvalidRequest):
    field = "response_format"
    code = "format_not_signed"
    title = "Files of this format cannot hold the signed manifest that the service requires"


class MelodyNotSupported(InvalidRequest):
    status = 422
    field = "melody"
    code = "melody_not_supported"
    title = "The model takes no melody"


class DecoderUnavailable(InvalidRequest):
    field = "decoder"
    code = "decoder_unavailable"
    title = "No served model has the requested decoder"

    @classmethod
    def of_stream(cls, decoder: str) -> "DecoderUnavailable":
        """Build the error of a stream by a decoder of whole tracks."""
        return cls(
            f"Decoder '{decoder}' decodes whole tracks only. Ask for the whole file, or use 'encodec'."
        )


class Unauthorized(ServeAppError):
    status = 401
    code = "unauthorized"
    title = "The request has no valid API key"


class ModelNotFound(ServeAppError):
    status = 404
    code = "model_not_found"
    title = "No model of that name is served here"


class RequestTimeout(ServeAppError):
    status = 408
    code = "request_timeout"
    title = "The request did not arrive in time"
    retryable = True


class StreamNotFound(ServeAppError):
    status = 404
    code = "stream_not_found"
    title = "No stream has this id, or it has expired"


class PayloadTooLarge(ServeAppError):
    status = 413
    code = "payload_too_large"
    title = "The request's body exceeds the service's limit"


class HeadersTooLarge(ServeAppError):
    status = 431
    code = "headers_too_large"
    title = "The request's headers exceed the service's limit"


class QueueFull(ServeAppError):
    status = 429
    code = "queue_full"
    title = "Too many requests of this kind are waiting"
    retryable = True


class RateLimited(ServeAppError):
    status = 429
    code = "rate_limited"
    title = "The API key's limit is reached"
    retryable = True


class RequestAborted(ServeAppError):
    status = 499
    code = "request_aborted"
    title = "The request was cancelled before it finished"


class GenerationFailed(ServeAppError):
    status = 500
    code = "generation_failed"
    title = "The model could not make this track"


class ReplicaFailed(ServeAppError):
    status = 503
    code = "replica_failed"
    title = "The replica failed while it made this track"
    retryable = True


class ReplicaUnreachable(ReplicaFailed):
    code = "replica_unreachable"
    title = "The replica of this track, or its node, became unreachable"


class ModelLoading(ServeAppError):
    status = 503
    code = "model_loading"
    title = "The model is loading"
    retryable = True


class ModelUnplaceable(ServeAppError):
    status = 503
    code = "model_unplaceable"
    title = "No node of the cluster can run this model"
    retryable = True


class SigningFailed(ServeAppError):
    status = 503
    code = "signing_failed"
    title = "The file could not be signed, and is not sent unsigned"
    retryable = True


class DeadlineExceeded(ServeAppError):
    status = 504
    code = "deadline_exceeded"
    title = "The request deadline passed before generation finished"
    retryable = True


class CheckpointError(ServeAppError):
    """A checkpoint cannot be loaded. Raised at start-up: the message names files and tensors."""

    code = "checkpoint_error"
    title = "A model's checkpoint cannot be loaded"


class ConfigError(ServeAppError):
    """The configuration cannot be used. Raised at start-up, for the operator."""

    code = "config_error"
    title = "The configuration cannot be used"
