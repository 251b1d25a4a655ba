"""Readiness of models: which replicas can take requests, and when a loading model will have one."""

from serve_app.errors import ModelUnplaceable
from serve_app.gateway.cold_starts import ColdStarts
from serve_app.gateway.generator import Fleet
from serve_app.types import LoadedModel, ModelCard, ReplicaStatus


class Readiness:
    """The fleet, and what this process has seen of its cold starts."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._cold_starts = ColdStarts()

    async def replicas(self, card: ModelCard) -> list[ReplicaStatus]:
        """List the model's replicas that are ready."""
        replicas = await self._fleet.replicas(card.model_id)
        if replicas:
            self.record_answer(card)
        return replicas

    async def loaded(self, card: ModelCard) -> LoadedModel | None:
        """Describe the model as a replica has loaded it; None while no replica is ready."""
        replicas = await self.replicas(card)
        return replicas[0].model if replicas else None

    def wake(self, card: ModelCard) -> float:
        """Ask for a replica of the model; return the estimated seconds until it is ready.

        Raises ModelUnplaceable where no node can run it.
        """
        if (reason := self.obstacle(card)) is not None:
            raise ModelUnplaceable(reason)
        self._fleet.wake(card.model_id)
        return self._cold_starts.remaining_s(card.model_id)

    def obstacle(self, card: ModelCard) -> str | None:
        """Explain why no node can run the model; None where one may."""
        return self._fleet.obstacle(card.model_id)

    def record_answer(self, card: ModelCard) -> None:
        """Record that a replica of the model has answered: a cold start is over."""
        self._cold_starts.record_ready(card.model_id)
