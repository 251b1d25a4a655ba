"""The delay pattern equals AudioCraft's."""

import pytest
import torch
from audiocraft.modules.codebooks_patterns import DelayedPatternProvider

from serve_app.engine.delay import delay, frames_complete, num_steps, undelay

DELAYS = [[0, 1, 2, 3], [0, 0, 1, 1, 2, 2, 3, 3], [0, 0], [0, 2, 5]]


@pytest.mark.parametrize("delays", DELAYS, ids=str)
def test_pattern_is_audiocrafts(delays: list[int]) -> None:
    frames = 9
    num_codebooks = len(delays)
    codes = torch.randint(0, 50, (1, num_codebooks, frames))
    pattern = DelayedPatternProvider(num_codebooks, delays).get_pattern(frames)
    sequence, _, mask = pattern.build_pattern_sequence(codes, special_token=-1)
    steps = num_steps(frames, delays)
    assert sequence.shape[-1] == steps + 1, "a step of special tokens comes first"
    tokens = sequence[0, :, 1:]
    assert torch.equal(undelay(tokens, delays, 0, frames), codes[0])
    assert torch.equal(undelay(tokens, delays, 3, 5), codes[0, :, 3:5])
    assert torch.equal(delay(codes[0], delays, special_token=-1), tokens)
    assert torch.equal(tokens != -1, mask[:, 1:])


def test_frames_are_complete_when_the_last_codebook_has_them() -> None:
    delays = [0, 1, 2, 3]
    assert [frames_complete(steps, 4, delays) for steps in range(8)] == [0, 0, 0, 0, 1, 2, 3, 4]
