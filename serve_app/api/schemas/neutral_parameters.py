"""Parameters of `transformers`' `generate` (GenerationConfig) that leave the result as it is."""

import json
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

_NEUTRAL = "neutral"  # type of the error
_UNUSED = "Without effect here: "
WITHOUT_EFFECT = {"use_cache", "disable_compile", "early_stopping", "length_penalty"}


def _only(neutral: bool | int | float, meaning: str) -> Any:
    """Declare a parameter that has one accepted value."""
    return Field(
        default=neutral,
        description=f"Only {json.dumps(neutral)}: {meaning}.",
        json_schema_extra={"const": neutral},
    )


class NeutralParameters(BaseModel, frozen=True):
    """Parameters without effect here, and others that are accepted at their neutral value only."""

    use_cache: bool = Field(default=True, description=_UNUSED + "the KV cache is always used.")
    disable_compile: bool = Field(default=False, description=_UNUSED + "it is transformers' own.")
    early_stopping: bool | Literal["never"] = Field(
        default=False, description=_UNUSED + "it ends beam search."
    )
    length_penalty: float = Field(default=1.0, description=_UNUSED + "it is of beam search.")

    num_beams: int = _only(1, "no beam search")
    num_beam_groups: int = _only(1, "no beam search")
    num_return_sequences: int = _only(1, "one track")
    min_p: float = _only(0.0, "no cutoff")
    typical_p: float = _only(1.0, "no typical sampling")
    epsilon_cutoff: float = _only(0.0, "no cutoff")
    eta_cutoff: float = _only(0.0, "no cutoff")
    penalty_alpha: float = _only(0.0, "no contrastive search")
    diversity_penalty: float = _only(0.0, "no penalty")
    repetition_penalty: float = _only(1.0, "no penalty")
    encoder_repetition_penalty: float = _only(1.0, "no penalty")
    no_repeat_ngram_size: int = _only(0, "no constraint")
    encoder_no_repeat_ngram_size: int = _only(0, "no constraint")
    renormalize_logits: bool = _only(False, "the logits stay as they are")
    remove_invalid_values: bool = _only(False, "the logits stay as they are")
    token_healing: bool = _only(False, "the prompt stays as it is")
    low_memory: bool = _only(False, "it is of contrastive search")
    return_dict_in_generate: bool = _only(False, "the answer is the audio alone")
    output_scores: bool = _only(False, "the answer is the audio alone")
    output_logits: bool = _only(False, "the answer is the audio alone")
    output_attentions: bool = _only(False, "the answer is the audio alone")
    output_hidden_states: bool = _only(False, "the answer is the audio alone")

    @field_validator("*", mode="before")
    @classmethod
    def _check_neutral(cls, value: Any, info: ValidationInfo) -> Any:
        """Return a neutral value in its own type. Raises PydanticCustomError for another value."""
        declared = NeutralParameters.model_fields.get(info.field_name or "")
        if declared is None or not isinstance(declared.json_schema_extra, dict):
            return value
        neutral = declared.default
        if isinstance(value, bool) is isinstance(neutral, bool) and value == neutral:
            return neutral
        raise PydanticCustomError(
            _NEUTRAL,
            "{value} is not supported, only {neutral}",
            {"value": _shown(value), "neutral": json.dumps(neutral)},
        )


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 20 else f"{text[:20]}..."
