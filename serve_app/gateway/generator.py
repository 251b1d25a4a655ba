"""The two protocols through which the gateway reaches the models."""

from collections.abc import AsyncGenerator
from typing import Protocol

from serve_app.model_status import ReplicaStatus
from serve_app.types import GenerationRequest, StreamItem


class Generator(Protocol):
    """Makes tracks. Errors are ServeAppErrors."""

    def generate(self, request: GenerationRequest) -> AsyncGenerator[StreamItem, None]:
        """Stream the request's audio, and its progress if it asks for that.

        Closing the iterator aborts the request.
        """
        ...


class Fleet(Protocol):
    """The replicas of the served models."""

    async def replicas(self, model_id: str, /) -> list[ReplicaStatus]:
        """List the model's replicas that are ready; empty while the model is loading."""
        ...

    def wake(self, model_id: str, /) -> None:
        """Ask for a replica of a model that may have none, without waiting for it."""
        ...

    def note_jobs(self, model_id: str, audio_s: float, /) -> None:
        """Tell one of the model's replicas the seconds of music in queued jobs, without waiting.

        The model's autoscaling policy takes the largest of recent notes into account.
        """
        ...

    async def check_prompt(self, model_id: str, prompt: str, /) -> None:
        """Let one of the model's replicas count the prompt's tokens; pass where none answers soon.

        Raises PromptTooLong.
        """
        ...

    def obstacle(self, model_id: str, /) -> str | None:
        """Explain why no node of the cluster can run the model; None where one may."""
        ...

    def notice(self, model_id: str, /) -> str | None:
        """Explain why no node can run the model now, also where an autoscaler may add one."""
        ...
