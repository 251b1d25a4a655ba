"""Values of a checkpoint's configuration, checked for type and range before anything uses them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Never

from serve_app.errors import CheckpointError

# Far above every published model. Sizes up to here cannot overflow a tensor's number of elements
# for a matrix; counts and kernel sizes are lower, because modules are built for each.
MOST = 2**20
MOST_LAYERS = 1024
MOST_TAPS = 1024
MOST_CHROMA = 4096  # frames of chroma, or pitch classes
MOST_FFT_BITS = 16
MOST_BLOCKS = 16  # residual blocks of a stage; their dilation grows exponentially
LEAST_SAMPLE_RATE = 400  # Hz, far below that of every codec of music or speech
PAD_MODES = ("reflect", "constant", "replicate")
_CURE = "Use the configuration that was saved with these weights."


class Fields:
    """One section of a configuration: values by name.

    file, section: named in errors; find: the value of a name, None if it is absent.
    """

    def __init__(self, file: Path, section: str, find: Callable[[str], Any]) -> None:
        self.file = file
        self._section = section
        self._find = find

    def integer(
        self,
        name: str,
        default: int | None = None,
        *,
        at_least: int = 1,
        at_most: int = MOST,
    ) -> int:
        """Value of `name`. Raises CheckpointError unless it is an integer in this range."""
        value = self._value(name, default)
        if type(value) is not int or not at_least <= value <= at_most:
            self._refuse(name, value, f"an integer from {at_least} to {at_most}")
        return value

    def number(
        self, name: str, default: float | None = None, *, at_least: float, at_most: float
    ) -> float:
        """Value of `name`. Raises CheckpointError unless it is a number in this range."""
        value = self._value(name, default)
        if type(value) not in (int, float) or not at_least <= value <= at_most:
            self._refuse(name, value, f"a number from {at_least:g} to {at_most:g}")
        return float(value)

    def flag(self, name: str, default: bool | None = None) -> bool:
        """Value of `name`. Raises CheckpointError unless it is true or false."""
        value = self._value(name, default)
        if type(value) is not bool:
            self._refuse(name, value, "true or false")
        return value

    def text(self, name: str) -> str:
        """Value of `name`. Raises CheckpointError unless it is a text with characters in it."""
        value = self._value(name, None)
        if not isinstance(value, str) or not value:
            self._refuse(name, value, "a text")
        return value

    def optional_text(self, name: str) -> str:
        """Value of `name`, empty if it is absent. Raises CheckpointError unless it is a text."""
        value = self._value(name, "")
        if not isinstance(value, str):
            self._refuse(name, value, "a text")
        return value

    def one_of(self, name: str, allowed: Sequence[str], default: str | None = None) -> str:
        """Value of `name`. Raises CheckpointError unless it is one of these texts."""
        value = self._value(name, default)
        if not isinstance(value, str) or value not in allowed:
            self._refuse(name, value, f"one of {', '.join(allowed)}")
        return value

    def integers(
        self, name: str, default: Sequence[int] | None = None, *, at_least: int = 1, at_most: int
    ) -> tuple[int, ...]:
        """Value of `name`. Raises CheckpointError unless it is a list of integers in this range."""
        value = self._value(name, default)
        if (
            not isinstance(value, list | tuple)
            or not value
            or not all(type(one) is int and at_least <= one <= at_most for one in value)
        ):
            self._refuse(name, value, f"a list of integers from {at_least} to {at_most}")
        return tuple(value)

    def require(self, name: str, supported: object, default: object = None) -> None:
        """Raise CheckpointError unless the value of `name`, or `default`, is `supported`."""
        value = self._find(name)
        value = default if value is None else value
        if value != supported:
            raise CheckpointError(
                f"{self._place(name)} is {_shown(value)}, which is not supported "
                f"(only {supported!r}). Use a MusicGen or an AudioGen of the published kind."
            )

    def require_divisor(self, name: str, part: int, whole_name: str, whole: int) -> None:
        """Raise CheckpointError unless `part`, the value of `name`, divides `whole`."""
        if whole % part:
            raise CheckpointError(
                f"{self._place(name)} is {part}, which does not divide {whole_name} ({whole}). "
                f"{_CURE}"
            )

    def _value(self, name: str, default: Any) -> Any:
        value = self._find(name)
        value = default if value is None else value
        if value is None:
            raise CheckpointError(f"{self._place(name)} is missing. {_CURE}")
        return value

    def _refuse(self, name: str, value: object, expected: str) -> Never:
        raise CheckpointError(f"{self._place(name)} is {_shown(value)}, not {expected}. {_CURE}")

    def _place(self, name: str) -> str:
        return f"{self.file}: {self._section}.{name}" if self._section else f"{self.file}: {name}"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
