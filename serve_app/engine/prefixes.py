"""Prefixes of slots: copied from a template where they are those of no melody, else computed."""

from serve_app.engine.prefill import Part, Prefill, Prefiller
from serve_app.models.musicgen.conditioning import CONDITIONAL, Conditions
from serve_app.models.musicgen.kv_cache import KVCache
from serve_app.models.musicgen.model import MusicGen
from serve_app.models.musicgen.prefix_template import PrefixTemplate


class Prefixes:
    """The prefixes of one model's slots.

    The positions of no melody are the same for every text and in both rows, because nothing
    precedes them. Their keys and values are computed once. The unconditional row always has them,
    the conditional row that of a track without a melody.
    """

    def __init__(self, model: MusicGen, cache: KVCache, prefiller: Prefiller) -> None:
        self._model = model
        self._cache = cache
        self._prefiller = prefiller
        self._leading = model.config.conditioning.prefix_positions
        self._branches = model.config.conditioning.branches
        self._template: PrefixTemplate | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of the template."""
        return 0 if self._template is None else self._template.nbytes

    def compute_template(self, slot: int) -> None:
        """Compute the template in a free slot.

        Has no effect after the first time, or for a model without melodies.
        """
        if self._model.config.melody is None or self._template is not None:
            return
        prefill = Prefill(slot, self._model.embedding.weight.device)
        leading = self._model.leading(None)[:1].transpose(0, 1)
        self._prefiller.add(prefill, Part(0, 1, leading))
        while self._prefiller.units(prefill):
            self._prefiller.run_unit(prefill)
        heads = self._model.config.transformer.num_heads
        self._template = PrefixTemplate(self._cache, slot, self._leading, heads)

    def fill(self, prefill: Prefill, conditions: Conditions) -> None:
        """Copy what the template holds of a prefix, and add the rest to the slot's prefill."""
        if conditions.prefix is None:
            return
        x = conditions.prefix.transpose(0, 1)
        copied = 0
        if self._template is not None:
            copied = self._leading
            first = CONDITIONAL + 1 if conditions.melody else CONDITIONAL
            self._template.put(self._cache, prefill.slot, range(first, self._branches))
            if conditions.melody:
                self._prefiller.add(prefill, Part(0, 1, x[:copied, :1]))
        self._prefiller.add(prefill, Part(copied, self._branches, x[copied:]))
