"""Fine-tunes of a model that its replicas serve beside it."""

from collections.abc import Iterator
from typing import Self, TypeVar

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from serve_app.config.closed_model import ClosedModel
from serve_app.config.model_loading import (
    Adapters,
    CheckpointForm,
    ModelLoadingConfig,
    Name,
    Revision,
    check_revision,
)

ModelT = TypeVar("ModelT", bound=ClosedModel)
_OWN = ("aliases", "license", "fallbacks", "max_queued_audio_s")  # the rest is the model's


class FineTuneConfig(ClosedModel):
    """One fine-tune: a checkpoint of the model's shape, with its codec and text encoder."""

    model_id: Name
    """Name that clients use for the fine-tune."""
    model_source: str | None = Field(default=None, min_length=1)
    """Hub id or folder of a whole checkpoint. Default: the model's own, for adapters."""
    revision: Revision = None
    """Commit, tag or branch of the hub repository in `model_source`. Default: its main branch."""
    checkpoint_form: CheckpointForm = "auto"
    """As in [model_loading_config](#model_loading_config)."""
    text_encoder_source: str | None = None
    """T5 of an AudioCraft export, which must be the model's. Default: the one the export names."""
    codec_source: str | None = None
    """Codec of an AudioCraft export, which must be the model's. Default: the one the export names."""
    adapter_source: Adapters = ()
    """LoRA adapters that are merged into the weights at load, as in
    [model_loading_config](#model_loading_config)."""
    aliases: tuple[Name, ...] = ()
    """Further names that the fine-tune answers to."""
    license: str | None = None
    """Licence of the weights, adapters included. Default: as that of a model."""
    fallbacks: tuple[Name, ...] = ()
    """Ids of the models that answer instead, in this order, when no place is free in time."""
    max_queued_audio_s: PositiveFloat | None = None
    """Seconds of music that may wait in one ingress replica; beyond it `429`. Default: no limit."""

    @model_validator(mode="after")
    def _differs_from_the_model(self) -> Self:
        if self.model_source is None and not self.adapter_source:
            raise ValueError(
                f"fine-tune '{self.model_id}' has neither model_source nor adapter_source, which "
                "is the model itself: give one of them"
            )
        check_revision(self.model_source, self.revision)
        return self

    def loading_of(self, base: ModelLoadingConfig) -> ModelLoadingConfig:
        """Return the source of the fine-tune's weights."""
        own = {"model_id": self.model_id, "adapter_source": self.adapter_source}
        if self.model_source is None:
            return ModelLoadingConfig.model_validate(dict(base) | own)
        names = ModelLoadingConfig.model_fields
        return ModelLoadingConfig.model_validate(
            {name: value for name, value in self if name in names} | own
        )


class FineTunesConfig(ClosedModel):
    """Fine-tunes of a model, which its replicas load when they are asked for."""

    max_resident: PositiveInt = 2
    """Fine-tunes in a replica's memory at a time beside the model itself, each with weights and
    `max_slots` slots of its own. A further one takes the place of the one that was not used for the
    longest time, once that has no requests."""
    max_wait_s: PositiveFloat = 60.0
    """Seconds that a request waits for a place (beyond it `429`) and for the load (`503`)."""
    checkpoints: tuple[FineTuneConfig, ...] = Field(min_length=1)
    """The fine-tunes. Each is a model of its own for clients."""

    def beside(self, model: ModelT, base: ModelLoadingConfig) -> Iterator[ModelT]:
        """Describe each fine-tune as a model of its own in the deployment of `model`.

        base: source of the model itself.
        """
        for one in self.checkpoints:
            own = {name: getattr(one, name) for name in _OWN}
            loading = {"model_loading_config": one.loading_of(base)}
            yield model.model_copy(update=own | loading)
