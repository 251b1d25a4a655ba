"""AudioCraft's `xp.cfg`: dotted paths, references, and errors that name the file."""

from pathlib import Path

import pytest

from serve_app.checkpoints.experiment_config import ExperimentConfig
from serve_app.errors import CheckpointError

FILE = Path("state_dict.bin")
TEXT = """
sample_rate: 32000
encodec: {sample_rate: "${sample_rate}", channels: null}
circle: "${circle}"
"""


def test_values_are_found_by_path_and_references_are_followed() -> None:
    cfg = ExperimentConfig(FILE, TEXT)
    assert cfg.get("encodec.sample_rate") == 32_000
    assert cfg.get("encodec") == {"sample_rate": 32_000, "channels": None}
    assert cfg.get("encodec.sample_rate.none", 7) == 7
    assert cfg.fields("encodec").integer("sample_rate") == 32_000
    assert cfg.fields("").integer("encodec.sample_rate") == 32_000
    assert cfg.names("encodec") == {"sample_rate", "channels"}
    assert cfg.names("sample_rate") == cfg.names("absent") == set()


def test_a_circle_of_references_is_an_error() -> None:
    with pytest.raises(CheckpointError, match=r"state_dict\.bin: 'xp\.cfg' has a circle"):
        ExperimentConfig(FILE, TEXT).get("circle")


def test_references_that_multiply_are_an_error() -> None:
    """Ten sections, each of which refers ten times to the next: 10^9 values."""
    lines = []
    for i in range(9):
        references = ", ".join(f"k{k}: '${{s{i + 1}}}'" for k in range(10))
        lines.append(f"s{i}: {{{references}}}")
    with pytest.raises(CheckpointError, match=r"'xp\.cfg' has too many references"):
        ExperimentConfig(FILE, "\n".join([*lines, "s9: 1"])).get("s0")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no configuration"),
        ("a: [", "is not YAML"),
        ("- 1", "has no configuration"),
        ("a: &a {x: 1}\nb: {x: *a, y: *a}", r"is not YAML \(YAMLError: aliases are not supported"),
        ("a: 2001-99-99", "is not YAML"),
        ("[" * 5000, "is not YAML"),
    ],
)
def test_text_that_is_no_configuration_is_refused(text: str, said: str) -> None:
    with pytest.raises(CheckpointError, match=f"state_dict.bin: .*{said}"):
        ExperimentConfig(FILE, text)


def test_needed_and_required_values_name_their_path() -> None:
    cfg = ExperimentConfig(FILE, TEXT)
    with pytest.raises(CheckpointError, match=r"state_dict.bin: encodec.channels is missing"):
        cfg.fields("encodec").integer("channels")
    with pytest.raises(
        CheckpointError, match=r"state_dict.bin: sample_rate is 32000, .*only 16000"
    ):
        cfg.require("sample_rate", 16_000)
    cfg.require("absent", "default", "default")
