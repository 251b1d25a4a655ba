"""Source of a model's weights, and the commit that pins them."""

import re
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import BeforeValidator, Field, model_validator

from serve_app.config.adapter import AdapterSource
from serve_app.config.closed_model import ClosedModel

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Revision = Annotated[str | None, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_./-]*$")]
CheckpointForm = Literal["auto", "transformers", "audiocraft"]
_HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")


def _as_list(value: object) -> object:
    """One adapter as the list of it: its source alone is enough."""
    if isinstance(value, dict):
        return [value]
    return [{"source": value}] if isinstance(value, str) else value


def _document_forms(schema: dict[str, Any]) -> None:
    """Document that a source alone is accepted for a list."""
    adapters = {name: schema.pop(name) for name in ("type", "items")}
    schema["anyOf"] = [{"type": "string"}, adapters]


Adapters = Annotated[
    tuple[AdapterSource, ...],
    BeforeValidator(_as_list),
    Field(json_schema_extra=_document_forms),
]


class NamedSource(NamedTuple):
    """A source that a configuration names.

    needs_codec, needs_text_encoder: whether an AudioCraft export's own codec and text encoder are
    used; form: of its checkpoint.
    """

    source: str
    needs_codec: bool = True
    form: CheckpointForm = "auto"
    needs_text_encoder: bool = True


class ModelLoadingConfig(ClosedModel):
    """Source of a model's weights."""

    model_id: Name
    """Name that clients use for the model."""
    model_source: str = Field(min_length=1)
    """Hub id, folder, or `embedded:musicgen-nano`. A folder holds a Hugging Face MusicGen model or
    an AudioCraft export."""
    revision: Revision = None
    """Commit, tag or branch of the hub repository in `model_source`; a commit pins the weights.
    Default: its main branch, whatever that holds."""
    checkpoint_form: CheckpointForm = "auto"
    """Form of the checkpoint, where a repository or folder holds two: `transformers` (safetensors
    and config.json) or `audiocraft` (state_dict.bin). `auto` is transformers' form if there are
    safetensors, else AudioCraft's."""
    text_encoder_source: str | None = None
    """Hub id or folder of an AudioCraft export's T5; `OWNER/REPOSITORY@REVISION` pins a revision.
    Default: the one the export names."""
    codec_source: str | None = None
    """Hub id or folder of an AudioCraft export's codec; `OWNER/REPOSITORY@REVISION` pins a
    revision. Default: the one the export names."""
    adapter_source: Adapters = ()
    """LoRA adapters that are merged into the weights at load: a folder or hub id, or a list with a
    weight for each. See [Adapters](training.md#adapters)."""

    @property
    def pinned_source(self) -> str:
        """The source with its revision, as `checkpoints.hub.resolve` takes it."""
        return f"{self.model_source}@{self.revision}" if self.revision else self.model_source

    @property
    def sources(self) -> list[NamedSource]:
        """Sources that the configuration names."""
        model = NamedSource(
            self.pinned_source,
            self.codec_source is None,
            self.checkpoint_form,
            self.text_encoder_source is None,
        )
        parts = [source for source in (self.text_encoder_source, self.codec_source) if source]
        return [model, *map(NamedSource, parts)]

    @model_validator(mode="after")
    def _only_hub_ids_have_revisions(self) -> Self:
        check_revision(self.model_source, self.revision)
        return self


def check_revision(source: str | None, revision: str | None) -> None:
    """Raise ValueError for the revision of a source that is not a hub id."""
    if revision and not _HUB_ID.fullmatch(source or ""):
        raise ValueError(
            f"revision is '{revision}', but model_source '{source}' is not a "
            "hub id (OWNER/REPOSITORY): only these have revisions. Leave one of them out"
        )
