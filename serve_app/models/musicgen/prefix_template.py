"""Keys and values of positions that many sequences begin with: computed once, then copied."""

from torch import Tensor

from serve_app.models.musicgen.kv_cache import KVCache


class PrefixTemplate:
    """The first `positions` positions of a slot's first row, as the cache stores them.

    heads: of one row.
    """

    def __init__(self, cache: KVCache, slot: int, positions: int, heads: int) -> None:
        self._positions = positions
        self._heads = heads
        self._stored = [self._of(tensor, slot, 0).clone() for tensor in cache.tensors]

    @property
    def nbytes(self) -> int:
        return sum(stored.nbytes for stored in self._stored)

    def put(self, cache: KVCache, slot: int, rows: range) -> None:
        """Copy the positions into these rows of a slot of the same cache."""
        for tensor, stored in zip(cache.tensors, self._stored, strict=True):
            for row in rows:
                self._of(tensor, slot, row).copy_(stored)

    def _of(self, tensor: Tensor, slot: int, row: int) -> Tensor:
        """Return a view of one row: [num_layers, 2, num_heads, positions, ...]."""
        heads = slice(row * self._heads, (row + 1) * self._heads)
        return tensor[:, :, slot, heads, : self._positions]
