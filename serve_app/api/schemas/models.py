"""Served models in JSON."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from serve_app.api.schemas.replicate import HostedModel
from serve_app.model_status import LoadedModel, ModelCard
from serve_app.types import ENCODEC, Content, Decoder


class Capabilities(BaseModel):
    """Kinds of requests that a model takes.

    Properties that are read from its checkpoint are null until a replica has told them.
    """

    text: Annotated[bool, Field(description="Whether it makes music from a prompt.")] = True
    melody: Annotated[bool | None, Field(description="Whether tracks may follow a melody.")] = None
    stereo: Annotated[bool | None, Field(description="Whether its tracks are stereo.")] = None
    continuation: Annotated[
        bool, Field(description="Whether tracks may begin with given audio.")
    ] = True
    max_duration_s: Annotated[
        float | None, Field(description="Duration of the longest track, in seconds.")
    ] = None

    decoders: Annotated[list[Decoder], Field(description="Values of `decoder` in requests.")] = (
        Field(default_factory=lambda: [ENCODEC])
    )

    @classmethod
    def of(cls, card: ModelCard, known: LoadedModel | None) -> "Capabilities":
        """Describe a model by its configuration, and by what a replica has told of it.

        known: None: nothing yet.
        """
        decoders = list(card.decoders)
        if known is None:
            return cls(decoders=decoders)
        return cls(
            melody=known.melody,
            stereo=known.channels == 2,
            max_duration_s=known.max_duration_s,
            decoders=decoders,
        )


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
    source: Annotated[
        str, Field(description="Repository or folder of the weights, and of each adapter in them.")
    ]
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
    capabilities: Annotated[Capabilities, Field(description="Kinds of requests that it takes.")]

    @classmethod
    def of(
        cls,
        card: ModelCard,
        loaded: LoadedModel | None,
        created: int,
        known: LoadedModel | None = None,
    ) -> "Model":
        """Describe a model.

        loaded: None while no replica is ready; known: as a replica last told it; created: a Unix time.
        """
        return cls(
            id=card.model_id,
            created=created,
            owned_by=card.source.partition("/")[0] if card.is_repository else "unknown",
            aliases=list(card.aliases),
            source=card.source,
            license=card.license,
            loaded=loaded is not None,
            sample_rate=loaded.sample_rate if loaded else None,
            content=loaded.content if loaded else None,
            channels=loaded.channels if loaded else None,
            max_duration_s=loaded.max_duration_s if loaded else None,
            capabilities=Capabilities.of(card, loaded or known),
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
