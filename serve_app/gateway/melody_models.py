"""Models that take a melody, and the refusal of a melody for one that does not."""

from collections.abc import Sequence

from serve_app.errors import MelodyNotSupported
from serve_app.gateway.readiness import Readiness
from serve_app.gateway.routing import ModelRouter
from serve_app.model_status import ModelCard


class MelodyModels:
    """Tells which served models take a melody, by what their replicas have told."""

    def __init__(self, router: ModelRouter, readiness: Readiness) -> None:
        self._router = router
        self._readiness = readiness

    async def takes(self, card: ModelCard) -> bool | None:
        """Whether the model takes a melody; None while no replica has told."""
        known = await self._readiness.known(card)
        return None if known is None else known.melody

    async def check(self, card: ModelCard, name: str | None) -> None:
        """Raise MelodyNotSupported for a model that is known to take none. name: as requested."""
        if await self.takes(card) is False:
            raise await self.refusal(card, name)

    async def possible(self, cards: Sequence[ModelCard]) -> list[ModelCard]:
        """Leave out the models that are known to take none. Raises MelodyNotSupported."""
        found = [card for card in cards if await self.takes(card) is not False]
        if not found:
            raise MelodyNotSupported(await self._advice("No model takes a melody here."))
        return found

    async def with_melody(self, cards: Sequence[ModelCard]) -> list[ModelCard]:
        """Keep the models that are known to take a melody."""
        return [card for card in cards if await self.takes(card)]

    async def refusal(self, card: ModelCard, name: str | None = None) -> MelodyNotSupported:
        """Build the error of a model that takes no melody. name: as requested."""
        is_alias = name is not None and name != card.model_id
        alias = f" (which answers to '{name}' here)" if is_alias else ""
        return MelodyNotSupported(
            await self._advice(f"Model '{card.model_id}'{alias} takes no melody.")
        )

    async def _advice(self, fault: str) -> str:
        """Add what the caller can do: the served models that take a melody."""
        taking = [card.model_id for card in await self.with_melody(self._router.cards)]
        if not taking:
            return f"{fault} Leave it out: no served model is known to take one."
        return f"{fault} Leave it out, or name a model that takes one: {', '.join(taking)}."
