"""Limits that only a model's replicas know, checked while one is ready: else the job meets them."""

from serve_app.errors import audio_prompt_too_long, stride_too_long
from serve_app.gateway.readiness import Readiness
from serve_app.jobs.intake import checking
from serve_app.jobs.job import JobRequest
from serve_app.model_status import ModelCard

_MOST_PER_CHARACTER = 2  # the character, and a boundary of words before it
_LAST_TOKENS = 1  # the end of the sequence


async def check_model_limits(
    readiness: Readiness, card: ModelCard, request: JobRequest, audio_s: float | None
) -> None:
    """Check the prompt's tokens, and lengths against the model's window.

    audio_s: seconds of the audio prompt's part; None: there is none. Raises PromptTooLong, and
    InvalidRequest naming the field.
    """
    replicas = await readiness.known_replicas(card)
    if not replicas:
        return
    window_s = replicas[0].model.window_s
    wanted_s = request.duration_s
    if wanted_s > window_s and (request.extend_stride_s or 0.0) >= window_s:
        raise stride_too_long(window_s)
    if audio_s is not None and audio_s >= window_s:
        with checking("audio_prompt"):
            raise audio_prompt_too_long(audio_s, wanted_s, window_s)
    if not surely_fits(request.prompt, card.max_prompt_tokens):
        await readiness.check_prompt(card, request.prompt)


def surely_fits(prompt: str, max_tokens: int) -> bool:
    """Test without a tokenizer that a prompt has at most `max_tokens` tokens.

    This holds for ASCII alone: normalization may make several characters of another one.
    """
    return prompt.isascii() and _MOST_PER_CHARACTER * len(prompt) + _LAST_TOKENS <= max_tokens
