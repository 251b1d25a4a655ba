"""The model's window, which slides over tracks longer than itself, as AudioCraft's does."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Window:
    """Frames `start` to before `end` of a track; the first `prefix_frames` have codes."""

    start: int
    end: int
    prefix_frames: int

    @property
    def num_frames(self) -> int:
        return self.end - self.start


def windows(num_frames: int, longest: int, stride: int, prefix_frames: int) -> list[Window]:
    """Return the windows of a track of `num_frames` frames.

    The first `prefix_frames` frames have codes already.
    Each window is at most `longest` frames long and begins `stride` frames after the one before it,
    whose end it sees.
    """
    found = [Window(0, min(num_frames, longest), prefix_frames)]
    while (last := found[-1]).end < num_frames:
        start = last.start + stride
        found.append(Window(start, min(num_frames, start + longest), last.end - start))
    return found
