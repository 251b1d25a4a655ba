"""Demucs' interface as AudioCraft uses it, with no separation: the whole mix is one stem.

AudioCraft's melody models cannot be built without the package.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
from torch import Tensor

SOURCES = ["drums", "bass", "other", "vocals"]


class Mix:
    """Separator whose stem `other` is the mix; the other stems are silence."""

    sources = SOURCES
    audio_channels = 1

    def __init__(self, sample_rate: int) -> None:
        self.samplerate = sample_rate

    def to(self, _: object) -> "Mix":
        return self


@contextmanager
def separation(architecture: Any) -> Iterator[None]:
    """Patch the imports of demucs, which need not be installed.

    Other modules that are imported meanwhile stay: `mock.patch.dict` would forget them.
    """
    package = ModuleType("demucs")
    pretrained = SimpleNamespace(get_model=lambda _: Mix(architecture.sample_rate))
    modules: dict[str, Any] = {
        "demucs": package,
        "demucs.pretrained": pretrained,
        "demucs.apply": SimpleNamespace(apply_model=_separate),
        "demucs.audio": SimpleNamespace(convert_audio=_convert),
    }
    package.pretrained = pretrained  # type: ignore[attr-defined]
    before = {name: sys.modules[name] for name in modules if name in sys.modules}
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name in modules:
            del sys.modules[name]
        sys.modules.update(before)


def _separate(_: Mix, audio: Tensor, device: object) -> Tensor:
    """audio [B, channels, n] -> stems [B, 4, channels, n]"""
    del device
    silence = torch.zeros_like(audio)
    return torch.stack([audio if name == "other" else silence for name in SOURCES], dim=1)


def _convert(audio: Tensor, from_rate: int, to_rate: int, channels: int) -> Tensor:
    """audio [B, channels, n] -> [B, 1, n], as demucs where the rates are equal."""
    if from_rate != to_rate or channels != 1:
        raise ValueError(f"no conversion from {from_rate} Hz to {to_rate} Hz, {channels} channels")
    return audio.mean(dim=-2, keepdim=True)
