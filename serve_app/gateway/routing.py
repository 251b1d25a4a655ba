"""Names and aliases -> model."""

from collections.abc import Iterable

from serve_app.errors import ModelNotFound
from serve_app.types import ModelCard


class ModelRouter:
    """The served models by every name they answer to: id, alias, and the repository they come from."""

    def __init__(self, cards: Iterable[ModelCard], default_model: str | None = None) -> None:
        self.cards = tuple(cards)
        self._by_name = {
            name: card for card in self.cards for name in (card.model_id, *card.aliases)
        }
        self._by_source = {card.source: card for card in self.cards}
        self.default = self._by_name[default_model] if default_model else self.cards[0]

    @property
    def names(self) -> list[str]:
        """All names and aliases, in the order of the configuration."""
        return list(self._by_name)

    def resolve(self, name: str | None) -> ModelCard:
        """The model of that name; the default where none is given. Raises ModelNotFound, listing those served."""
        if name is None:
            return self.default
        if (card := self._by_name.get(name)) is None:
            raise ModelNotFound(
                f"Model '{name}' is not served here. Served models: {', '.join(self.names)}."
            )
        return card

    def resolve_repository(self, repository: str) -> ModelCard:
        """`owner/name` as it was configured, or else a served model that `name` ends in, as in `musicgen-small`."""
        if (card := self._by_source.get(repository)) is not None:
            return card
        return self.resolve(repository.rpartition("/")[2].removeprefix("musicgen-"))
