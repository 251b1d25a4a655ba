"""`musicgen generate` writes the track that the service made."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import soundfile

from tests.cli.conftest import Run
from tests.fakes import FakeGenerator

pytestmark = pytest.mark.usefixtures("url")


@pytest.mark.parametrize("name", ["track.wav", "track.MP3", "track.ogg", "track.opus"])
def test_a_file_is_written(run: Run, tmp_path: Path, name: str) -> None:
    result = run("generate", "lofi beat", "-o", tmp_path / name, "--duration", 1, "--seed", 99)
    assert result.exit_code == 0, result.output
    assert soundfile.info(tmp_path / name).duration == pytest.approx(1.0, abs=0.1)
    assert f"{name}: 1 s by small, seed 99, in 2.0 s" in result.output
    assert "Licence of the weights: CC-BY-NC-4.0, $0.000500" in result.output


def test_programs_get_one_line_of_json(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "track.wav"
    result = run("generate", "a", "-o", file, "--duration", 1, "--seed", 5, "--json")
    [line] = result.stdout.splitlines()
    track = json.loads(line)
    assert track["file"] == str(file)
    assert track["bytes"] == file.stat().st_size
    assert track["seed"] == 5
    assert "content" not in track


def test_every_sampling_parameter_is_an_option(
    run: Run, generator: FakeGenerator, tmp_path: Path
) -> None:
    values = {"temperature": 0.5, "top_k": 10, "top_p": 0.25, "cfg_coef": 4.5, "seed": 11}
    options = [part for name, value in values.items() for part in (_option(name), value)]
    result = run("generate", "a", "-o", tmp_path / "a.wav", "--duration", 1, *options)
    assert result.exit_code == 0, result.output
    assert generator.requests[-1].sampling.model_dump() == values


def test_absent_sampling_options_leave_the_services_defaults(
    run: Run, generator: FakeGenerator, tmp_path: Path
) -> None:
    assert run("generate", "a", "-o", tmp_path / "a.wav", "--duration", 1).exit_code == 0
    sampling = generator.requests[-1].sampling
    assert sampling.temperature == 1.0
    assert sampling.top_k == 250
    assert sampling.cfg_coef == 3.0


@pytest.mark.parametrize(
    ("option", "value"),
    [("--temperature", "11"), ("--temperature", "nan"), ("--top-p", "-1"), ("--top-k", "0.5")],
)
def test_bounds_of_sampling_parameters_hold_before_a_request(
    run: Run, generator: FakeGenerator, option: str, value: str
) -> None:
    result = run("generate", "a", option, value)
    assert result.exit_code == 2
    assert option in result.stderr
    assert generator.requests == []


def test_a_track_begins_with_a_file(run: Run, generator: FakeGenerator, tmp_path: Path) -> None:
    beginning = tmp_path / "beginning.wav"
    assert run("generate", "a", "-o", beginning, "--duration", 0.5).exit_code == 0
    whole = tmp_path / "whole.wav"
    result = run("generate", "-o", whole, "--duration", 1, "--begin", beginning)
    assert result.exit_code == 0, result.output
    audio_prompt = generator.requests[-1].audio_prompt
    assert audio_prompt is not None
    assert audio_prompt.duration_s == 0.5


def test_the_track_is_played(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    played: list[list[str]] = []
    monkeypatch.setattr(shutil, "which", lambda name: name == "mpv")
    monkeypatch.setattr(subprocess, "run", lambda command, **_: played.append(command))
    file = tmp_path / "a.wav"
    assert run("generate", "a", "-o", file, "--duration", 1, "--play").exit_code == 0
    assert played == [["mpv", "--no-video", str(file)]]


def test_a_missing_player_is_an_error(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    result = run("generate", "a", "-o", tmp_path / "a.wav", "--duration", 1, "--play")
    assert result.exit_code == 1
    assert "Install one of ffplay, mpv, afplay, paplay" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["-o", "track.txt"], 2, "track.txt: the name must end in one of .wav, .flac"),
        (["-o", "/nowhere/track.wav"], 2, "/nowhere is not a folder"),
        (["--begin", "/nowhere/a.wav"], 2, "/nowhere/a.wav cannot be read: No such file"),
        (["--duration", "nan"], 2, "duration_s must be a finite number, not nan"),
        (["-o", "/proc/track.wav", "--duration", "1"], 1, "/proc/track.wav cannot be written: "),
        (["--duration", "0"], 1, "duration_s: Input should be greater than 0 (invalid_request)"),
        (["--model", "[huge]"], 1, "Model '[huge]' is not served here. Served models: small"),
    ],
)
def test_an_error_is_one_line(run: Run, arguments: list[str], code: int, message: str) -> None:
    result = run("generate", "a", *arguments)
    assert result.exit_code == code
    assert f"error {message}" in result.stderr
    assert "Traceback" not in result.output


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
