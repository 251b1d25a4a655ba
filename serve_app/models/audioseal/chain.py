"""A network as a chain of stages, computed while its input arrives."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from serve_app.models.encodec.lstm import LSTMState, SkipLSTM
from serve_app.models.encodec.streaming import Stage, StageBuffer, lookahead


@dataclass
class ChainState:
    """State of one stream, by number of the part."""

    buffers: dict[int, StageBuffer] = field(default_factory=dict)
    lstms: dict[int, LSTMState] = field(default_factory=dict)


class Chain:
    """Stages and LSTMs, one after the other; in chunks it computes what it computes of the whole."""

    def __init__(self, parts: Sequence[Stage | SkipLSTM]) -> None:
        self._parts = parts

    @property
    def lookahead(self) -> int:
        """Input samples that must follow one before its outputs are complete."""
        return lookahead([part for part in self._parts if isinstance(part, Stage)])

    def advance(self, x: Tensor | None, state: ChainState, final: bool) -> Tensor | None:
        """Take the next input [B, C, n]; return the outputs [B, D, m] that it completes, if any.

        The length of the whole input must be a multiple of that of a frame.
        """
        for number, part in enumerate(self._parts):
            if isinstance(part, Stage):
                x = part.advance(state.buffers.setdefault(number, StageBuffer()), x, final)
            elif x is not None:
                x, state.lstms[number] = part(x, state.lstms.get(number))
        return x
