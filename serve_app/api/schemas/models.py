"""Served models in JSON."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from serve_app.api.schemas.replicate import HostedModel
from serve_app.model_status import LoadedModel, ModelCard
from serve_app.types import Content


class Model(BaseModel):
    """A served model.

    Properties that are read from its checkpoint are null while no replica runs.
    """

    id: Annotated[str, Field(description="Id, for the `model` field of requests.")]
    object: Literal["model"] = "model"
    created: Annotated[
        int, Field(description="Unix time at which this part of the service began to serve it.")
    ]
    owned_by: Annotated[
        str, Field(description="Owner of the weights' repository; `unknown` for other weights.")
    ]
    aliases: Annotated[list[str], Field(description="Further names for the `model` field.")]
    source: Annotated[str, Field(description="Repository or folder of the weights.")]
    license: Annotated[
        str, Field(description="Licence of the weights; CC-BY-NC-4.0 forbids commercial use.")
    ]
    loaded: Annotated[bool, Field(description="Whether a replica is ready for requests.")]
    sample_rate: Annotated[int | None, Field(description="Sample rate in Hz.")] = None
    content: Annotated[
        Content | None,
        Field(description="Content of its tracks: music, or audio of any kind (AudioGen)."),
    ] = None
    channels: Annotated[int | None, Field(description="1: mono; 2: stereo.")] = None
    max_duration_s: Annotated[
        float | None, Field(description="Duration of the longest track, in seconds.")
    ] = None

    @classmethod
    def of(cls, card: ModelCard, loaded: LoadedModel | None, created: int) -> "Model":
        """Describe a model. loaded: None while no replica is ready; created: a Unix time."""
        owner, separator, _ = card.source.partition("/")
        return cls(
            id=card.model_id,
            created=created,
            owned_by=owner if separator else "unknown",
            aliases=list(card.aliases),
            source=card.source,
            license=card.license,
            loaded=loaded is not None,
            sample_rate=loaded.sample_rate if loaded else None,
            content=loaded.content if loaded else None,
            channels=loaded.channels if loaded else None,
            max_duration_s=loaded.max_duration_s if loaded else None,
        )


class RepositoryModel(Model, HostedModel):
    """A served model that was named by its repository: in this service's form, and Replicate's."""


class ModelList(BaseModel):
    """The served models, the default model first."""

    object: Literal["list"] = "list"
    data: list[Model]
    results: Annotated[
        list[HostedModel], Field(description="The same for Replicate's clients.")
    ] = Field(default_factory=list)
    next: None = None
    previous: None = None
