"""The rules for prompts."""

import pytest

from serve_app.errors import InvalidRequest
from serve_app.gateway.prompt import check_prompt


def test_whitespace_is_stripped() -> None:
    assert check_prompt("  lofi beat \n", 9) == "lofi beat"


def test_an_optional_prompt_may_be_empty() -> None:
    assert check_prompt(" ", 9, required=False) == ""


@pytest.mark.parametrize(
    ("prompt", "sentence"),
    [
        (" ", "Prompt is required and cannot be empty"),
        ("lofi beats", "Prompt must be at most 9 characters long"),
        ("a\ud800", "Prompt must be valid Unicode"),
        ("lo\0fi", "Prompt must not have NUL characters"),
    ],
)
def test_bad_prompts_are_refused(prompt: str, sentence: str) -> None:
    with pytest.raises(InvalidRequest, match=sentence):
        check_prompt(prompt, 9)
