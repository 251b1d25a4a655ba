"""Pieces longer than the model's window: it slides, as AudioCraft's does."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Window:
    """The frames of a piece, from `start` to before `end`, that are in the model's sight at once. The first `known` of
    them are there already."""

    start: int
    end: int
    known: int

    @property
    def num_frames(self) -> int:
        return self.end - self.start


def windows(num_frames: int, longest: int, stride: int, known: int) -> list[Window]:
    """The windows of a piece of `num_frames` frames that begins with `known` ones.

    Each is at most `longest` frames and begins `stride` frames after the one before it, whose end it sees.
    """
    found = [Window(0, min(num_frames, longest), known)]
    while (last := found[-1]).end < num_frames:
        start = last.start + stride
        found.append(Window(start, min(num_frames, start + longest), last.end - start))
    return found
