"""What the API needs of whoever generates the music."""

from collections.abc import AsyncGenerator
from typing import Protocol

from serve_app.types import AudioChunk, GenerationRequest, ReplicaStatus


class Generator(Protocol):
    """Models that make audio. Errors are ServeAppErrors."""

    def generate(self, request: GenerationRequest) -> AsyncGenerator[AudioChunk, None]:
        """The request's audio, chunk by chunk. Closing the iterator frees what it holds."""
        ...

    async def replicas(self, model_id: str, /) -> list[ReplicaStatus]:
        """The model's replicas that are ready; none while it is being loaded."""
        ...

    def wake(self, model_id: str, /) -> None:
        """Ask for a replica of a model that may have none, without waiting for it."""
        ...
