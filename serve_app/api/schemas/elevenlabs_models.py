"""Served models as ElevenLabs' clients list them."""

from typing import Annotated

from pydantic import BaseModel, Field

from serve_app.model_status import ModelCard

_NO_SPEECH = "false: the models make music."


class ElevenLabsModel(BaseModel, frozen=True):
    """A served model, in ElevenLabs' form."""

    model_id: Annotated[str, Field(description="Id, for the `model_id` of requests.")]
    name: Annotated[str, Field(description="Repository or folder of the weights.")]
    description: Annotated[str, Field(description="Purpose and licence of the weights.")]
    can_be_finetuned: Annotated[bool, Field(description="false: there are no finetunes.")] = False
    can_do_text_to_speech: Annotated[bool, Field(description=_NO_SPEECH)] = False
    can_do_voice_conversion: Annotated[bool, Field(description=_NO_SPEECH)] = False
    can_use_style: Annotated[bool, Field(description=_NO_SPEECH)] = False
    can_use_speaker_boost: Annotated[bool, Field(description=_NO_SPEECH)] = False
    serves_pro_voices: Annotated[bool, Field(description=_NO_SPEECH)] = False
    requires_alpha_access: Annotated[
        bool, Field(description="false: any key may use the model.")
    ] = False
    maximum_text_length_per_request: Annotated[
        int, Field(description="Most characters of a prompt.")
    ]
    languages: Annotated[list[str], Field(description="Empty: nobody sings.")] = []

    @classmethod
    def of(cls, card: ModelCard, max_prompt_chars: int) -> "ElevenLabsModel":
        """Describe a model."""
        return cls(
            model_id=card.model_id,
            name=card.source,
            description=f"Makes instrumental music from a text. Licence: {card.license}.",
            maximum_text_length_per_request=max_prompt_chars,
        )
