"""The detector's score and message are those of the whole file, in bounded memory."""

import pytest
import torch

from serve_app.models.audioseal.detector import DetectionStream, Detector


@pytest.fixture(scope="module")
def detector() -> Detector:
    torch.manual_seed(3)
    return Detector(causal=False).eval().requires_grad_(False)


def test_parts_give_the_detection_of_the_whole(detector: Detector) -> None:
    audio = torch.randn(2, 9_777)
    whole = DetectionStream(detector)
    whole.add(audio)
    parts = DetectionStream(detector)
    for part in torch.split(audio, 1000, dim=1):
        parts.add(part)
    found = parts.finish()
    expected = whole.finish()
    assert found.message == expected.message
    assert found.score == pytest.approx(expected.score, abs=1e-3)


def test_the_channel_with_the_highest_score_counts() -> None:
    class Marked(Detector):
        """Every sample of the second channel is marked, with all bits."""

        def logits(self, latents: torch.Tensor) -> torch.Tensor:
            logits = torch.full((len(latents), 18, 320 * latents.shape[-1]), -1.0)
            logits[1:, 1:] = 1.0
            return logits

    marked = Marked(causal=False).eval().requires_grad_(False)
    stream = DetectionStream(marked)
    stream.add(torch.randn(2, 1_000))
    found = stream.finish()
    assert found.score == 1.0
    assert found.message == 0xFFFF


def test_a_file_without_audio_is_an_error(detector: Detector) -> None:
    with pytest.raises(ValueError, match="no audio"):
        DetectionStream(detector).finish()
