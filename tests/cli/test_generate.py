"""`musicgen generate` writes the track that the service made."""

import errno
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import soundfile

from serve_app.audio.file_format import FORMATS, format_of_suffix
from serve_app.client import Track
from tests.cli.conftest import Run
from tests.credentials import SOUND, state, stored
from tests.fakes import FakeGenerator
from tests.served_api import served_api

pytestmark = pytest.mark.usefixtures("url")


@pytest.fixture(autouse=True)
def _in_an_empty_folder(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path_factory.mktemp("current"))


@pytest.mark.parametrize("name", ["track.wav", "track.MP3", "track.ogg", "track.opus"])
def test_a_file_is_written(run: Run, tmp_path: Path, name: str) -> None:
    result = run("generate", "lofi beat", "-o", tmp_path / name, "--duration", 1, "--seed", 99)
    assert result.exit_code == 0, result.output
    assert soundfile.info(tmp_path / name).duration == pytest.approx(1.0, abs=0.1)
    assert f"{name}: 1 s by small, seed 99, in 2.0 s" in result.output
    assert "Licence of the weights: CC-BY-NC-4.0, $0.000500" in result.output


@pytest.mark.parametrize("arguments", [[], [""]])
def test_an_empty_prompt_is_told_as_such(
    run: Run, generator: FakeGenerator, arguments: list[str]
) -> None:
    result = run("generate", *arguments)
    assert result.exit_code == 2
    assert "The prompt is empty: describe the music" in result.stderr
    assert "--begin" in result.stderr
    assert "--melody" in result.stderr
    assert generator.requests == []


def test_a_prompt_of_another_encoding_is_told_as_such(run: Run) -> None:
    result = run("generate", "caf\udce9")
    assert result.exit_code == 1
    assert "prompt is not valid text: character 4 is U+DCE9" in result.stderr


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
    options = {"--temperature": 0.5, "--top-k": 10, "--top-p": 0.25, "--cfg": 4.5, "--seed": 11}
    arguments = [part for option in options.items() for part in option]
    result = run("generate", "a", "-o", tmp_path / "a.wav", "--duration", 1, *arguments)
    assert result.exit_code == 0, result.output
    assert generator.requests[-1].sampling.model_dump() == {
        "temperature": 0.5, "top_k": 10, "top_p": 0.25, "cfg_coef": 4.5, "seed": 11,
    }  # fmt: skip


def test_every_other_field_is_an_option(run: Run, generator: FakeGenerator, tmp_path: Path) -> None:
    file = tmp_path / "a.wav"
    options = (
        "--model large --duration 1 --max-wait 99 --extend-stride 10 --sample-rate 16000 "
        "--sample-format float32 --normalization loudness --loudness -20 --fade-in 0.1 --fade-out 0.2"
    )
    result = run("generate", "a", "-o", file, *options.split())
    assert result.exit_code == 1, "no replica of large is ready"
    assert "(model_loading)" in result.stderr
    result = run("generate", "a", "-o", file, *options.replace("large", "tiny").split())
    assert result.exit_code == 0, result.output
    assert generator.requests[-1].extend_stride_s == 10
    info = soundfile.info(file)
    assert (info.samplerate, info.subtype, info.duration) == (16_000, "FLOAT", 1.0)
    result = run("generate", "a", "-o", tmp_path / "a.mp3", "--duration", 1, "--bitrate", 32)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "a.mp3").stat().st_size < 8_000


def test_a_decoder_of_whole_tracks_is_not_streamed(
    run: Run, generator: FakeGenerator, tmp_path: Path
) -> None:
    arguments = ("a", "-o", tmp_path / "a.wav", "--duration", 1, "--decoder")
    result = run("generate", *arguments, "multiband_diffusion")
    assert result.exit_code == 1
    assert "(decoder_unavailable)" in result.stderr, "a stream would be an invalid_request"
    result = run("generate", *arguments, "encodec")
    assert result.exit_code == 0, result.output
    assert generator.requests[-1].streamed


@pytest.mark.parametrize("normalization", ["none", "clip", "peak", "rms", "loudness"])
def test_every_normalization_works(run: Run, tmp_path: Path, normalization: str) -> None:
    arguments = ["--duration", 1, "--normalization", normalization]
    result = run("generate", "a", "-o", tmp_path / "a.wav", *arguments)
    assert result.exit_code == 0, result.output


def test_a_wav_file_tells_its_length(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "a.wav"
    assert run("generate", "a", "-o", file, "--duration", 1).exit_code == 0
    assert int.from_bytes(file.read_bytes()[4:8], "little") == file.stat().st_size - 8


def test_variations_are_files_with_numbers(run: Run, tmp_path: Path) -> None:
    result = run("generate", "a", "-o", tmp_path / "a.flac", "--duration", 1, "--seed", 5, "-n", 3)
    assert result.exit_code == 0, result.output
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a-1.flac", "a-2.flac", "a-3.flac"]
    assert "a-3.flac: 1 s by small, seed 7" in result.output
    assert soundfile.info(tmp_path / "a-2.flac").duration == 1.0


def test_variations_are_a_line_of_json_each(run: Run, tmp_path: Path) -> None:
    result = run("generate", "a", "-o", tmp_path / "a.wav", "--duration", 1, "-n", 2, "--json")
    tracks = [json.loads(line) for line in result.stdout.splitlines()]
    assert [Path(track["file"]).name for track in tracks] == ["a-1.wav", "a-2.wav"]
    assert tracks[1]["seed"] == tracks[0]["seed"] + 1


def test_absent_options_leave_the_services_defaults(
    run: Run, generator: FakeGenerator, tmp_path: Path
) -> None:
    assert run("generate", "a", "-o", tmp_path / "a.wav").exit_code == 0
    request = generator.requests[-1]
    assert request.duration_s == 30
    assert request.sampling.temperature == 1.0
    assert request.sampling.top_k == 250
    assert request.sampling.cfg_coef == 3.0


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--temperature", "11"),
        ("--temperature", "nan"),
        ("--duration", "nan"),
        ("--max-wait", "inf"),
        ("--top-p", "-1"),
        ("--top-k", "0.5"),
    ],
)
def test_bounds_of_sampling_parameters_hold_before_a_request(
    run: Run, generator: FakeGenerator, option: str, value: str
) -> None:
    result = run("generate", "a", option, value)
    assert result.exit_code == 2
    assert option in result.stderr
    assert generator.requests == []


@pytest.mark.parametrize("n", [1, 2])
def test_a_file_is_not_overwritten(
    run: Run, generator: FakeGenerator, tmp_path: Path, n: int
) -> None:
    file = tmp_path / ("a.wav" if n == 1 else "a-2.wav")
    file.write_text("mine")
    arguments = ["generate", "a", "-o", tmp_path / "a.wav", "--duration", 1, "-n", n]
    result = run(*arguments)
    assert result.exit_code == 2
    assert f"{file} exists. Add --force to overwrite" in " ".join(result.stderr.split())
    assert (file.read_text(), generator.requests) == ("mine", [])
    assert run(*arguments, "--force").exit_code == 0
    assert file.read_bytes().startswith(b"RIFF")


def test_a_track_begins_with_a_file(run: Run, generator: FakeGenerator, tmp_path: Path) -> None:
    beginning = tmp_path / "beginning.wav"
    assert run("generate", "a", "-o", beginning, "--duration", 0.5).exit_code == 0
    whole = tmp_path / "whole.wav"
    result = run("generate", "-o", whole, "--duration", 1, "--begin", beginning)
    assert result.exit_code == 0, result.output
    audio_prompt = generator.requests[-1].audio_prompt
    assert audio_prompt is not None
    assert audio_prompt.duration_s == 0.5


@pytest.mark.parametrize("more", [[], ["--whole"], ["-n", "2"]])
def test_a_track_follows_a_melody(
    run: Run, generator: FakeGenerator, tmp_path: Path, more: list[str]
) -> None:
    generator.melody = ("small",)
    melody = tmp_path / "melody.wav"
    assert run("generate", "a", "-o", melody, "--duration", 0.5).exit_code == 0
    track = tmp_path / "track.wav"
    result = run("generate", "-o", track, "--duration", 1, "--melody", melody, *more)
    assert result.exit_code == 0, result.output
    heard = generator.requests[-1]
    assert heard.melody is not None
    assert (heard.melody.duration_s, heard.prompt) == (0.5, "")


def test_a_model_that_takes_no_melody_is_told(run: Run, tmp_path: Path) -> None:
    melody = tmp_path / "melody.wav"
    assert run("generate", "a", "-o", melody, "--duration", 0.5).exit_code == 0
    result = run("generate", "a", "-o", tmp_path / "b.wav", "--melody", melody)
    assert result.exit_code == 1
    shown = " ".join(result.stderr.split())
    assert "Model 'small' takes no melody." in shown
    assert "(melody_not_supported)" in shown


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
        (["-o", "/"], 2, "/: the name must end in one of .wav, .flac"),
        (["-o", "."], 2, ".: the name must end in one of .wav, .flac"),
        (["-o", "/nowhere/track.wav"], 2, "/nowhere is not a folder"),
        (["--begin", "/nowhere/a.wav"], 2, "/nowhere/a.wav cannot be read: No such file"),
        (["--melody", "/nowhere/a.wav"], 2, "/nowhere/a.wav cannot be read: No such file"),
        (["-o", "/proc/track.wav"], 2, "/proc/track.wav cannot be written: "),
        (["--duration", "0"], 1, "duration_s: Input should be greater than 0 (invalid_request)"),
        (["--model", "[huge]"], 1, "Model '[huge]' is not served here. Served models: small"),
    ],
)
def test_an_error_is_one_line(run: Run, arguments: list[str], code: int, message: str) -> None:
    result = run("generate", "a", *arguments)
    assert result.exit_code == code
    assert result.stderr.startswith(f"error {message}"), "no line of progress before"
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.output


@pytest.mark.parametrize("n", [1, 2])
def test_a_file_that_cannot_be_written_costs_no_track(
    run: Run, generator: FakeGenerator, tmp_path: Path, n: int
) -> None:
    output = tmp_path / "a.wav"
    for file in (output, tmp_path / "a-2.wav"):
        file.symlink_to(tmp_path / "missing" / file.name)
    result = run("generate", "a", "-o", output, "--duration", 1, "-n", n)
    assert result.exit_code == 2
    assert "cannot be written: No such file or directory" in result.stderr
    assert generator.requests == []
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a-2.wav", "a.wav"]


def test_a_disk_that_is_full_at_the_end_is_an_error(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def save(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Track, "save", save)
    result = run("generate", "a", "-o", tmp_path / "a.wav", "--duration", 1)
    assert result.exit_code == 1
    assert "a.wav cannot be written: No space left on device" in result.stderr


def test_too_many_tracks_are_refused_before_a_request(run: Run, generator: FakeGenerator) -> None:
    result = run("generate", "a", "-n", 9)
    assert result.exit_code == 2
    assert "'-n'" in result.stderr
    assert generator.requests == []


@pytest.fixture(params=["allow", "refuse"])
def signing(
    request: pytest.FixtureRequest,
    generator: FakeGenerator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[str]:
    """A service that signs is asked; its value of unsigned_formats."""
    config = stored(tmp_path, unsigned_formats=request.param)
    with served_api(generator, config) as url:
        monkeypatch.setenv("MUSICGEN_URL", url)
        yield request.param


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.mp3"])
def test_whole_files_are_signed(run: Run, tmp_path: Path, signing: str, name: str) -> None:
    """Also without the option, where the service sends signed files only."""
    options = ["--whole"] if signing == "allow" else []
    result = run("generate", "lofi", "-o", tmp_path / name, "--duration", 1, *options)
    assert result.exit_code == 0, result.output
    spec = format_of_suffix(name.rpartition(".")[2])
    assert spec is not None
    assert state((tmp_path / name).read_bytes(), spec.media_type) in SOUND


@pytest.mark.parametrize("name", ["a.ogg", "a.pcm"])
def test_a_file_that_cannot_hold_a_manifest_gets_one_beside_it(
    run: Run, tmp_path: Path, signing: str, name: str
) -> None:
    options = ["--whole", "--json"] if signing == "allow" else []
    assert run("generate", "a", "-o", tmp_path / name, "--duration", 1, *options).exit_code == 0
    manifest = (tmp_path / "a.c2pa").read_bytes()
    media_type = FORMATS["opus" if name == "a.ogg" else "pcm"].media_type
    assert state((tmp_path / name).read_bytes(), media_type, manifest) in SOUND


def test_a_manifest_is_not_overwritten(
    run: Run, generator: FakeGenerator, tmp_path: Path, signing: str
) -> None:
    """Nothing is generated before the question; a stale one does not stay beside a new file."""
    (tmp_path / "a.c2pa").write_text("mine")
    refused = run("generate", "a", "-o", tmp_path / "a.opus", "--duration", 1, "--whole")
    assert (refused.exit_code, "--force" in refused.stderr) == (2, True)
    assert generator.requests == []
    assert (tmp_path / "a.c2pa").read_text() == "mine"
    assert run("generate", "a", "-o", tmp_path / "a.opus", "--duration", 1, "-f").exit_code == 0
    assert (tmp_path / "a.c2pa").exists() is (signing == "refuse")


def test_a_stream_of_a_service_that_signs_is_not_signed(
    run: Run, tmp_path: Path, signing: str
) -> None:
    assert run("generate", "a", "-o", tmp_path / "a.wav", "--duration", 1).exit_code == 0
    assert (b"c2pa" in (tmp_path / "a.wav").read_bytes()) is (signing == "refuse")
