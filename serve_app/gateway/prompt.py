"""The rules for prompts."""

from serve_app.errors import InvalidRequest


def check_prompt(prompt: str, max_chars: int, *, required: bool = True) -> str:
    """Return the prompt without surrounding whitespace.

    Raises InvalidRequest when it is empty though `required`, longer than `max_chars`, not valid
    Unicode, or has a NUL character, at which the tags of audio files would end.
    """
    prompt = prompt.strip()
    if (fault := _fault(prompt, max_chars, required=required)) is not None:
        raise InvalidRequest(fault, field="prompt")
    return prompt


def _fault(prompt: str, max_chars: int, *, required: bool) -> str | None:
    """Say what is wrong with a prompt; None: nothing."""
    if any("\ud800" <= character <= "\udfff" for character in prompt):
        return "Prompt must be valid Unicode, but has half of a surrogate pair"
    if "\0" in prompt:
        return "Prompt must not have NUL characters"
    if required and not prompt:
        return "Prompt is required and cannot be empty"
    if len(prompt) > max_chars:
        return f"Prompt must be at most {max_chars} characters long"
    return None
