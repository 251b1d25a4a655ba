"""Streaming through SEANet: buffers that make computing it in chunks equal computing the whole.

Convolutions look back and ahead, so a network is run stage by stage, and each stage buffers the
input that later outputs need. The LSTM runs forward in time: its state is carried from chunk to
chunk.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from serve_app.models.encodec.conv import Conv1d, ConvTranspose1d
from serve_app.models.encodec.lstm import LSTMState, SkipLSTM
from serve_app.models.encodec.seanet import Elu, ResidualBlock, fused


@dataclass
class StageBuffer:
    """Input frames that one stage still needs, [B, C, n] at the stage's own rate.

    `start` is the first frame held, `done` the first frame without output; both count from the
    start of the track.
    """

    frames: Tensor | None = None
    start: int = 0
    done: int = 0

    @property
    def end(self) -> int:
        """The first frame not yet received."""
        return self.start + (0 if self.frames is None else self.frames.shape[-1])

    def append(self, new: Tensor | None) -> None:
        held = [part for part in (self.frames, new) if part is not None]
        if held:  # in memory frame by frame, as the convolutions need them on a CPU
            self.frames = torch.cat([part.transpose(1, 2) for part in held], dim=1).transpose(1, 2)

    def drop_until(self, start: int) -> None:
        """Forget the frames before `start`."""
        if self.frames is not None and start > self.start:
            self.frames = self.frames[..., start - self.start :]
            self.start = start


@dataclass
class DecoderState:
    """State of chunked decoding, carried from one chunk of a track to the next."""

    buffers: dict[int, StageBuffer] = field(default_factory=dict)  # by number of the stage
    lstm: LSTMState | None = None


@runtime_checkable
class Resampling(Protocol):
    """Layer with `scale` frames out for each `step` frames in."""

    scale: int
    step: int

    def inputs_of(self, first: int, last: int) -> tuple[int, int]: ...


class Stage:
    """Layers of which at most one changes the rate: `scale` frames out for each `step` frames in.

    An upsampling comes first, a downsampling last: all other layers run at the higher rate.

    left_context, right_context: the receptive field of the outputs of `step` frames, in input
    frames before and after them.
    """

    def __init__(self, layers: Iterable[nn.Module]) -> None:
        self._layers = list(layers)
        self._functions = fused(self._layers)
        self.scale = 1
        self.step = 1
        for layer in self._layers:
            scale, step = _rate_change(layer)
            self.scale *= scale
            self.step *= step
        first = 0
        last = self.scale - 1
        for layer in reversed(self._layers):
            if isinstance(layer, (Conv1d, ConvTranspose1d, ResidualBlock, Resampling)):
                first, last = layer.inputs_of(first, last)
        self.left_context = -first
        self.right_context = last - self.step + 1
        convolutions = (one for layer in self._layers for one in layer.modules())
        self._mirrors = any(
            isinstance(one, Conv1d) and one.pad_mode != "constant" for one in convolutions
        )

    def advance(self, buffer: StageBuffer, new: Tensor | None, final: bool) -> Tensor | None:
        """Append new frames; return the newly complete outputs, None if there are none.

        The buffer begins at the start of the track or `left_context` frames before the first output
        due. Padding at its borders is therefore that of the whole track, or affects only outputs
        that are cut off.
        """
        buffer.append(new)
        if buffer.frames is None:
            return None
        ready = self._ready(buffer, final)
        if ready == buffer.done:
            return None
        y = buffer.frames
        for function in self._functions:
            y = function(y)
        first = (buffer.done - buffer.start) // self.step * self.scale
        y = y[..., first : (ready - buffer.start) // self.step * self.scale]
        buffer.drop_until((ready - self.left_context) // self.step * self.step)
        buffer.done = ready
        return y

    def _ready(self, buffer: StageBuffer, final: bool) -> int:
        """End of the frames whose receptive field is in the buffer, or beyond the track's end.

        It is a multiple of `step`, as the length of the whole input must be.
        """
        if final:
            return buffer.end
        # Reflection at the track's start mirrors as many frames ahead as the stage looks back.
        mirrors = self._mirrors and buffer.done == 0
        context = max(self.left_context, self.right_context) if mirrors else self.right_context
        return max(buffer.done, (buffer.end - context) // self.step * self.step)


def _rate_change(layer: nn.Module) -> tuple[int, int]:
    """Frames out, and the frames in that they take."""
    if isinstance(layer, Resampling):
        return layer.scale, layer.step
    if isinstance(layer, ConvTranspose1d):
        return layer.stride[0], 1
    return (1, layer.stride[0]) if isinstance(layer, Conv1d) else (1, 1)


def encoder_stages(encoder: nn.ModuleList) -> list[Stage]:
    """Group an encoder's layers: each downsampling with the layers before it, last convolution."""
    groups: list[list[nn.Module]] = [[]]
    for layer in encoder:
        if not isinstance(layer, SkipLSTM):
            groups[-1].append(layer)
        if isinstance(layer, Conv1d) and layer.stride[0] > 1:
            groups.append([])
    return [Stage(group) for group in groups]


def decoder_stages(decoder: nn.ModuleList) -> list[Stage]:
    """Group a decoder's layers: first convolution, each upsampling, last convolution."""
    groups: list[list[nn.Module]] = [[decoder[0]]]
    for layer in decoder[1:]:
        if isinstance(layer, Elu):
            groups.append([])
        if not isinstance(layer, SkipLSTM):
            groups[-1].append(layer)
    return [Stage(group) for group in groups]


def lookahead(stages: Sequence[Stage]) -> int:
    """Frames that must follow a frame before its outputs are complete."""
    ahead = 0
    for stage in reversed(stages):
        ahead = math.ceil(ahead / stage.scale) * stage.step + stage.right_context
    return ahead
