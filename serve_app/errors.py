"""The exceptions this package raises on purpose: each has an HTTP status and a stable code.

They are raised once, where the cause is known, cross Ray by pickling, and are rendered once, in
`api/error_handlers.py`. Their messages are written for callers: they name no path and carry no traceback.
"""

from typing import ClassVar


class ServeAppError(Exception):
    """Base of all. `status` is the HTTP status, `code` a stable machine-readable name, `title` its short meaning.

    `retryable` says whether the same request may succeed later; `retry_after_s` when, where that is known.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    title: ClassVar[str] = "Something went wrong in the service"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s

    @property
    def message(self) -> str:
        return str(self.args[0])


class InvalidRequest(ServeAppError):
    status, code, title = 400, "invalid_request", "The request is not valid"


class PromptTooLong(InvalidRequest):
    code, title = "prompt_too_long", "The prompt has more text than the model can be conditioned on"


class DurationTooLong(InvalidRequest):
    code, title = "duration_too_long", "More music was asked for than the model makes in one piece"


class InvalidAudio(InvalidRequest):
    code, title = "invalid_audio", "The audio that was sent cannot be used"


class DecoderUnavailable(InvalidRequest):
    code, title = "decoder_unavailable", "No served model has the decoder that was asked for"


class Unauthorized(ServeAppError):
    status, code, title = 401, "unauthorized", "The request has no valid API key"


class ModelNotFound(ServeAppError):
    status, code, title = 404, "model_not_found", "No model of that name is served here"


class PayloadTooLarge(ServeAppError):
    status, code, title = (
        413,
        "payload_too_large",
        "The request's body is larger than the service takes",
    )


class HeadersTooLarge(ServeAppError):
    status, code, title = (
        431,
        "headers_too_large",
        "The request's headers are larger than the service takes",
    )


class QueueFull(ServeAppError):
    status, code, title, retryable = (
        429,
        "queue_full",
        "Too many requests are waiting for this model",
        True,
    )


class RateLimited(ServeAppError):
    status, code, title, retryable = 429, "rate_limited", "This key's limits are used up", True


class RequestAborted(ServeAppError):
    status, code, title = 499, "request_aborted", "The request was cancelled before it finished"


class GenerationFailed(ServeAppError):
    status, code, title = 500, "generation_failed", "The model could not make this piece"


class ReplicaFailed(ServeAppError):
    status, code, title, retryable = (
        503,
        "replica_failed",
        "The replica that made this piece failed",
        True,
    )


class ReplicaUnreachable(ReplicaFailed):
    code, title = "replica_unreachable", "The replica that made this piece, or its node, went away"


class ModelLoading(ServeAppError):
    status, code, title, retryable = 503, "model_loading", "The model is being loaded", True


class DeadlineExceeded(ServeAppError):
    status, code, title, retryable = (
        504,
        "deadline_exceeded",
        "The caller's time was over before the piece was",
        True,
    )


class CheckpointError(ServeAppError):
    """A checkpoint cannot be loaded. It is met at start-up, by the operator: the message names files and tensors."""

    code, title = "checkpoint_error", "A model's checkpoint cannot be loaded"


class ConfigError(ServeAppError):
    """The configuration cannot be used. It is met at start-up, by the operator."""

    code, title = "config_error", "The configuration cannot be used"
