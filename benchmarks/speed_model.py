"""The speed model: the time of a decode step on a GPU, computed from what the step reads and launches.

    step = weights / (bandwidth * bandwidth_share)
         + attention + kernels * kernel_us + products of cuBLAS * product_us

Attention reads the keys and values of all slots at `attention_share` of the bandwidth. PyTorch's
reads positions rounded up to those of a CUDA graph, and walks them one after another in
`position_us` each, which bounds it for few slots. The constants are in benchmarks/cards.yaml.
"""

import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.peers import Scale
from serve_app.config.app import MOST_SLOTS
from serve_app.engine.bucket import bucket
from serve_app.engine.memory import RESERVED
from serve_app.engine.step_graphs import LENGTH
from serve_app.models.musicgen.conditioning import ConditioningSpec

CARDS = Path(__file__).with_name("cards.yaml")
SIZES = ("small", "medium", "large")
TRACK_S = 30
STEPS = 1503  # of a track of 30 s
FRAME_S = 0.02  # of music; a step that takes longer is slower than the music
HEADS = 4 * 2048  # outputs
_ROWS = ConditioningSpec().branches
_BYTES = 2  # per number, in fp16
_GIGA = 1e9
_MICRO = 1e-6


@dataclass(frozen=True)
class Kernels:
    """Kernels of a step, the products of cuBLAS among them: of a layer, and of all outside."""

    layer: int
    layer_products: int
    outside: int
    outside_products: int


@dataclass(frozen=True)
class Card:
    """A GPU: its memory's size and bandwidth, its price, and the model's constants; see cards.yaml."""

    name: str
    gigabytes: float
    gigabytes_per_second: float
    dollars_per_hour: float
    bandwidth_share: float
    attention_share: float
    kernel_us: float
    product_us: float
    position_us: float
    fused_layers: bool


@dataclass(frozen=True)
class Measured:
    """Seconds of tracks of 30 s, and the memory bandwidth measured beside them, in bytes/s."""

    seconds: float
    bandwidth: float


@dataclass(frozen=True)
class SpeedModel:
    """Computes times from the constants of cards.yaml.

    kernels: by name: eager, fused, without_dot; measured: by card, size, and tracks together.
    """

    cards: dict[str, Card]
    kernels: dict[str, Kernels]
    uncertainty: float
    measured: dict[tuple[str, str, int], Measured]

    def step_s(
        self, card: Card, scale: Scale, slots: int, position: int, eager: bool = False
    ) -> float:
        """Seconds of a step of `slots` guided tracks, all at one position of the cache.

        eager: by PyTorch's operations; else by this package's kernels, as far as the card runs them.
        """
        fused = "fused" if card.fused_layers else "without_dot"
        kernels = self.kernels["eager" if eager else fused]
        launches = scale.num_layers * kernels.layer + kernels.outside
        products = scale.num_layers * kernels.layer_products + kernels.outside_products
        overhead_s = (launches * card.kernel_us + products * card.product_us) * _MICRO
        weights_s = weight_bytes(scale) / (_bandwidth(card) * card.bandwidth_share)
        return weights_s + _attention_s(card, scale, slots, position, eager) + overhead_s

    def track_s(self, card: Card, scale: Scale, together: int, eager: bool = False) -> float:
        """Seconds of the steps of `together` tracks of 30 s, started together."""
        steps = [self.step_s(card, scale, together, step + 1, eager) for step in range(STEPS)]
        return sum(steps)

    def slots_that_keep_up(self, card: Card, scale: Scale) -> int:
        """Return the most slots that fit and whose step is never slower than the music."""
        slots = 0
        while slots < MOST_SLOTS and fits(card, scale, slots + 1):
            if self.step_s(card, scale, slots + 1, STEPS) > FRAME_S:
                break
            slots += 1
        return slots


def fits(card: Card, scale: Scale, slots: int) -> bool:
    """Return whether so many slots fit in the card's memory, beside the engine's reserve."""
    cache = slots * scale.num_layers * _cache_bytes(scale) * bucket(STEPS)
    return weight_bytes(scale) + cache + RESERVED <= card.gigabytes * _GIGA


def floor_s(card: Card, scale: Scale, together: int, bandwidth: float | None = None) -> float:
    """Seconds to read weights, keys and values of all steps once, at the datasheet's bandwidth.

    bandwidth: a measured one, in bytes/s.
    """
    return track_bytes(scale, together, STEPS) / (bandwidth or _bandwidth(card))


def track_bytes(scale: Scale, together: int, steps: int) -> float:
    """Bytes of weights, keys and values that the steps of `together` tracks read at least, in fp16."""
    positions = statistics.mean(range(steps))
    each = weight_bytes(scale) + together * scale.num_layers * _cache_bytes(scale) * positions
    return steps * each


def weight_bytes(scale: Scale) -> int:
    """Bytes of the weights: self-attention 4 d², cross-attention 2 d², feed-forward 8 d²; heads."""
    size = scale.hidden_size
    return _BYTES * (scale.num_layers * 14 * size * size + size * HEADS)


def load() -> tuple[SpeedModel, list[dict[str, Any]]]:
    """Read cards.yaml: the model, and the goals."""
    read = yaml.safe_load(CARDS.read_text())
    cards = {
        name: Card(
            name,
            card["gigabytes"],
            card["gigabytes_per_second"],
            card["dollars_per_hour"],
            **read["speed"][name],
        )
        for name, card in read["cards"].items()
    }
    kernels = {name: Kernels(**counts) for name, counts in read["kernels"].items()}
    measured = {
        (one["card"], one["size"], one["together"]): Measured(
            one["seconds"], one["gigabytes_per_second"] * _GIGA
        )
        for one in read["measured"]
    }
    model = SpeedModel(cards, kernels, read["uncertainty"], measured)
    return model, read["goals"]


def _attention_s(card: Card, scale: Scale, slots: int, position: int, eager: bool) -> float:
    if eager:
        position = min(-(-position // LENGTH) * LENGTH, bucket(STEPS))
    read_s = slots * position * _cache_bytes(scale) / (_bandwidth(card) * card.attention_share)
    walk_s = position * card.position_us * _MICRO if eager else 0.0
    return scale.num_layers * max(read_s, walk_s)


def _cache_bytes(scale: Scale) -> int:
    """Bytes of a position's keys and values in one layer: of both rows of a slot."""
    return _ROWS * 2 * scale.hidden_size * _BYTES


def _bandwidth(card: Card) -> float:
    return card.gigabytes_per_second * _GIGA
