"""Routing: names to models."""

from collections.abc import Iterable

from serve_app.errors import DecoderUnavailable, ModelNotFound
from serve_app.model_status import ModelCard
from serve_app.types import ENCODEC, Decoder


class ModelRouter:
    """The served models by each of their names: id, aliases, and the weights' repository."""

    def __init__(self, cards: Iterable[ModelCard], default_model: str | None = None) -> None:
        self.cards = tuple(cards)
        self._by_name = {
            name: card for card in self.cards for name in (card.model_id, *card.aliases)
        }
        self._by_source = {card.source: card for card in self.cards}
        self.default = self._by_name[default_model] if default_model else self.cards[0]

    @property
    def names(self) -> list[str]:
        """All ids and aliases, in the order of the configuration."""
        return list(self._by_name)

    def resolve(self, name: str | None) -> ModelCard:
        """Find the model of that name; the default for None.

        Raises ModelNotFound, listing the served models.
        """
        if name is None:
            return self.default
        card = self._by_name.get(name)
        if card is None:
            raise ModelNotFound(
                f"Model '{name}' is not served here. Served models: {', '.join(self.names)}."
            )
        return card

    def resolve_repository(self, repository: str) -> ModelCard:
        """Find the model by its repository `owner/name`, or by a name in `name`: `musicgen-small`.

        Raises ModelNotFound.
        """
        card = self._by_source.get(repository)
        if card is not None:
            return card
        name = repository.rpartition("/")[2]
        return self.resolve(name if name in self._by_name else name.removeprefix("musicgen-"))

    def with_fallbacks(self, card: ModelCard, decoder: Decoder = ENCODEC) -> tuple[ModelCard, ...]:
        """The model and its fallbacks with that decoder, in the order in which they are tried."""
        fallbacks = (self._by_name[model_id] for model_id in card.fallbacks)
        return (card, *(other for other in fallbacks if decoder in other.decoders))

    def with_decoder(self, decoder: Decoder) -> tuple[ModelCard, ...]:
        """The models with that decoder, the default model first. Raises DecoderUnavailable."""
        cards = sorted(self.cards, key=lambda card: card is not self.default)
        able = tuple(card for card in cards if decoder in card.decoders)
        if not able:
            raise self._decoder_unavailable(decoder, ENCODEC)
        return able

    def check_decoder(self, card: ModelCard, decoder: Decoder, instead: str = ENCODEC) -> None:
        """Raise DecoderUnavailable if the model lacks the decoder.

        instead: the caller's name of the decoder that all models have.
        """
        if decoder in card.decoders:
            return
        able = [other.model_id for other in self.cards if decoder in other.decoders]
        if not able:
            raise self._decoder_unavailable(decoder, instead)
        raise DecoderUnavailable(
            f"Decoder '{decoder}' is not available for model '{card.model_id}', only for "
            f"{', '.join(able)}. Ask for one of these, or use '{instead}'."
        )

    def _decoder_unavailable(self, decoder: Decoder, instead: str) -> DecoderUnavailable:
        return DecoderUnavailable(
            f"Decoder '{decoder}' is not available: none of the models served here "
            f"({', '.join(self.names)}) is configured with it. Use '{instead}'."
        )
