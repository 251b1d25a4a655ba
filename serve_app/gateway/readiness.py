"""Readiness of models: which replicas can take requests, and when a loading model will have one."""

import asyncio
from functools import partial
from time import monotonic

from serve_app.errors import ModelUnplaceable
from serve_app.gateway.cold_starts import ColdStarts
from serve_app.gateway.fleet_view import FleetView
from serve_app.gateway.generator import Fleet
from serve_app.model_status import LoadedModel, ModelCard, ReplicaStatus

_POLL_S = 0.5
_KNOWN_S = 5.0  # of those that `known_replicas` returns


class Readiness:
    """The fleet, and what this process has seen of its cold starts."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._cold_starts = ColdStarts()
        self._ready_once: set[str] = set()
        self._known: dict[str, LoadedModel] = {}
        self._views: dict[str, FleetView] = {}

    async def replicas(self, card: ModelCard) -> list[ReplicaStatus]:
        """Ask the model's replicas that are ready; callers at the same time share the answer."""
        return await self._view(card).read()

    async def recent(self, card: ModelCard) -> list[ReplicaStatus]:
        """List the model's replicas as they were at most `fleet_view.RECENT_S` ago."""
        return await self._view(card).recent()

    async def known_replicas(self, card: ModelCard) -> list[ReplicaStatus]:
        """List the model's replicas as they were at most _KNOWN_S ago; ask them anew meanwhile.

        Waits for an answer only where none is known: a replica may take long to answer under load.
        """
        return await self._view(card).recent(_KNOWN_S)

    def forget(self, model_id: str) -> None:
        """Forget the statuses of a model that has lost a replica."""
        if model_id in self._views:
            self._views[model_id].forget()

    def _view(self, card: ModelCard) -> FleetView:
        view = self._views.get(card.model_id)
        if view is None:
            view = self._views[card.model_id] = FleetView(partial(self._ask, card))
        return view

    async def _ask(self, card: ModelCard) -> list[ReplicaStatus]:
        replicas = await self._fleet.replicas(card.model_id)
        if replicas:
            self._known[card.model_id] = replicas[0].model
            self.record_answer(card)
        return replicas

    async def loaded(self, card: ModelCard) -> LoadedModel | None:
        """Describe the model as a replica has loaded it; None while no replica is ready."""
        replicas = await self.recent(card)
        return replicas[0].model if replicas else None

    async def known(self, card: ModelCard) -> LoadedModel | None:
        """Describe the model as a replica last told it, also while none is ready; None: none has."""
        return self.remembered(card) or await self.loaded(card)

    def remembered(self, card: ModelCard) -> LoadedModel | None:
        """Describe the model as a replica last told this process; None: none has."""
        return self._known.get(card.model_id)

    async def wait_until_loaded(self, card: ModelCard, timeout_s: float) -> LoadedModel | None:
        """Wake the model if no replica is ready, and wait for it; None after `timeout_s`."""
        deadline = monotonic() + timeout_s
        while (loaded := await self.loaded(card)) is None:
            self.wake(card)
            left_s = deadline - monotonic()
            if left_s <= 0:
                return None
            await asyncio.sleep(min(_POLL_S, left_s))
        return loaded

    def is_starting(self, card: ModelCard) -> bool:
        """Test that no replica of the model was ever ready, though it always has one."""
        return not card.scales_to_zero and card.model_id not in self._ready_once

    def wake(self, card: ModelCard) -> float:
        """Ask for a replica of the model; return the estimated seconds until it is ready.

        Raises ModelUnplaceable where no node can run it.
        """
        if (reason := self.obstacle(card)) is not None:
            raise ModelUnplaceable(reason)
        self._fleet.wake(card.model_id)
        return self.ready_in_s(card)

    def note_jobs(self, card: ModelCard, audio_s: float) -> None:
        """Tell a replica the seconds of music in queued jobs, by which the model scales."""
        self._fleet.note_jobs(card.model_id, audio_s)

    async def check_prompt(self, card: ModelCard, prompt: str) -> None:
        """Count the prompt's tokens, where a replica answers soon. Raises PromptTooLong."""
        await self._fleet.check_prompt(card.model_id, prompt)

    def ready_in_s(self, card: ModelCard) -> float:
        """Estimate the seconds until the model is ready, counted from the first such call."""
        return self._cold_starts.remaining_s(card.model_id)

    def obstacle(self, card: ModelCard) -> str | None:
        """Explain why no node can run the model; None where one may."""
        return self._fleet.obstacle(card.model_id)

    def notice(self, card: ModelCard) -> str | None:
        """Explain why no node can run the model now, also where an autoscaler may add one."""
        return self._fleet.notice(card.model_id)

    def record_answer(self, card: ModelCard) -> None:
        """Record that a replica of the model has answered: a cold start is over."""
        self._ready_once.add(card.model_id)
        self._cold_starts.record_ready(card.model_id)
