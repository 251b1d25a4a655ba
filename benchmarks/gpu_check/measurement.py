"""Measurements of a check, each with its bar, and the setting of a run."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch


@dataclass(frozen=True, slots=True)
class Setting:
    """Conditions of a run. tiny: tiny shapes; folder: scratch that the checks of a run share."""

    device: torch.device
    tiny: bool
    folder: Path

    @property
    def on_gpu(self) -> bool:
        return self.device.type == "cuda"


@dataclass(frozen=True, slots=True)
class Measurement:
    """A measured value. bar: its bound, for people; ok: whether it is met, None without a bar."""

    name: str
    value: float | str
    unit: str = ""
    bar: str = ""
    ok: bool | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """One check. limit_s: seconds after which its process is ended.

    needs_gpu: whether it is skipped without one; environment: further variables of its process.
    """

    number: str
    name: str
    title: str
    run: Callable[[Setting], Iterator[Measurement]]
    limit_s: float
    needs_gpu: bool = True
    environment: Mapping[str, str] = field(default_factory=dict)


def found(name: str, value: float | str, unit: str = "") -> Measurement:
    """Report a value that no bar applies to."""
    return Measurement(name, value, unit)


def at_most(name: str, value: float, bound: float, unit: str = "") -> Measurement:
    return Measurement(name, value, unit, f"at most {bound:g}", value <= bound)


def at_least(name: str, value: float, bound: float, unit: str = "") -> Measurement:
    return Measurement(name, value, unit, f"at least {bound:g}", value >= bound)


def holds(name: str, condition: bool, value: str = "") -> Measurement:
    """Report a condition that must hold. value: what was found instead, or besides."""
    return Measurement(name, value or ("yes" if condition else "no"), "", "holds", condition)


def if_h100(measurement: Measurement, setting: Setting) -> Measurement:
    """Keep the bar on an H100, for which it was set, and an H200; elsewhere report the value."""
    if setting.on_gpu:
        card = torch.cuda.get_device_name(setting.device)
        if any(kind in card for kind in ("H100", "H200")):
            return measurement
    return found(measurement.name, measurement.value, measurement.unit)
