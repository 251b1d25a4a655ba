"""`musicgen jobs`: over the real API, and the store's tables."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import soundfile

from serve_app.config.jobs import JobsConfig
from serve_app.errors import ModelLoading
from serve_app.jobs.migrations import migrations_of
from tests.audio.files import RATE, pcm_file, tone
from tests.cli.conftest import Run
from tests.fakes import FakeGenerator
from tests.served_api import served_api


@pytest.fixture
def served(
    generator: FakeGenerator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """The URL of a service with jobs, which the command takes from the environment."""
    config = JobsConfig(store=f"sqlite:///{tmp_path / 'jobs.db'}")
    with served_api(generator, jobs=config) as url:
        monkeypatch.setenv("MUSICGEN_URL", url)
        yield url


def submitted(run: Run, *arguments: str) -> str:
    result = run("jobs", "submit", *arguments)
    assert result.exit_code == 0, result.stderr
    return str(result.stdout.strip())


@pytest.mark.usefixtures("served")
def test_a_job_is_submitted_waited_for_and_fetched(run: Run, tmp_path: Path) -> None:
    job = submitted(
        run, "lofi beat", "--duration", "1", "--format", "flac", "-n", "2", "--seed", "7"
    )
    waited = run("jobs", "wait", job)
    assert waited.exit_code == 0
    assert waited.stdout.startswith(f"{job}: succeeded, 100%, by small, seed 7\n")
    fetched = run("jobs", "fetch", job, "-o", tmp_path / "a.flac")
    assert fetched.exit_code == 0, fetched.stderr
    for number in (1, 2):
        samples, rate = soundfile.read(tmp_path / f"a-{number}.flac")
        assert len(samples) == rate
    shown = json.loads(run("jobs", "show", job, "--json").stdout)
    assert [file["seed"] for file in shown["result"]] == [7, 8]
    assert [one["id"] for one in json.loads(run("jobs", "list", "--json").stdout)] == [job]
    assert "lofi beat" in run("jobs", "list", "--status", "succeeded").stdout
    assert run("jobs", "delete", job).exit_code == 0
    assert "(job_not_found)" in run("jobs", "show", job).stderr


@pytest.mark.usefixtures("served")
def test_a_job_follows_a_melody(run: Run, generator: FakeGenerator, tmp_path: Path) -> None:
    generator.melody = ("small",)
    melody = tmp_path / "melody.wav"
    melody.write_bytes(pcm_file(tone(0.5), RATE))
    for job in (
        submitted(run, "--duration", "1", "--melody", str(melody)),
        run("generate", "--duration", 1, "--melody", melody, "--detach").stdout.strip(),
    ):
        assert run("jobs", "wait", job).exit_code == 0
        heard = generator.requests[-1].melody
        assert heard is not None
        assert heard.duration_s == 0.5
    assert len(generator.requests) == 2


@pytest.mark.usefixtures("served")
def test_a_key_makes_a_repetition_safe(run: Run) -> None:
    ids = {submitted(run, "bells", "--idempotency-key", "one", "--seed", "1") for _ in range(2)}
    assert len(ids) == 1


@pytest.mark.usefixtures("served")
def test_a_generation_is_detached(run: Run, tmp_path: Path) -> None:
    result = run("generate", "bells", "-o", tmp_path / "bells.mp3", "--duration", "1", "--detach")
    job = result.stdout.strip()
    assert result.exit_code == 0
    assert f"musicgen jobs fetch {job}" in result.stderr
    assert not (tmp_path / "bells.mp3").exists()
    assert run("jobs", "fetch", job, "-o", tmp_path / "bells.mp3").exit_code == 0
    wrong = run("jobs", "fetch", job, "-o", tmp_path / "bells.wav")
    assert (wrong.exit_code, "end the name in .mp3" in wrong.stderr) == (2, True)


@pytest.mark.usefixtures("served")
def test_a_canceled_job_stays_canceled(run: Run, generator: FakeGenerator) -> None:
    generator.error = ModelLoading("No replica is ready")  # the job waits
    job = submitted(run, "bells", "--model", "large", "--priority", "-3")
    assert json.loads(run("jobs", "cancel", job, "--json").stdout)["id"] == job
    waited = run("jobs", "wait", job)
    assert waited.exit_code == 1
    assert f"Job {job} was canceled" in waited.stderr


@pytest.mark.usefixtures("served")
def test_bad_arguments_are_named(run: Run) -> None:
    assert "--format must be one of wav" in run("jobs", "submit", "a", "--format", "aac").stderr
    assert "prompt is empty" in run("jobs", "submit").stderr
    assert "is no id of a job" in run("jobs", "show", "../stats").stderr
    refused = run("jobs", "submit", "a", "--webhook", "http://127.0.0.1/hook")
    assert (refused.exit_code, "private" in refused.stderr) == (1, True)


def test_a_store_is_migrated_once(run: Run, tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path / 'a' / 'jobs.db'}"
    first = run("jobs", "migrate", "--store", store)
    names = [one.name for one in migrations_of("sqlite")]
    assert (first.exit_code, first.stdout.splitlines()) == (
        0,
        [f"{one}: applied now" for one in names],
    )
    again = run("jobs", "migrate", "--store", store)
    assert again.stdout.splitlines() == [f"{one}: applied before" for one in names]
    result = run("jobs", "migrate", "--store", store, "--json")
    assert json.loads(result.stdout) == {"applied_before": names, "applied_now": []}


def test_the_variable_names_the_store(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MUSICGEN_JOBS_STORE", f"sqlite:///{tmp_path / 'jobs.db'}")
    assert run("jobs", "migrate").exit_code == 0
    assert (tmp_path / "jobs.db").exists()


@pytest.mark.parametrize(
    ("store", "message"),
    [
        ("mysql://me:secret@host", "--store must be sqlite:///PATH"),
        ("postgresql://me:secret@127.0.0.1:1/db", "cannot be reached"),
        ("sqlite:////proc/jobs.db", "cannot be written"),
    ],
)
def test_a_store_that_cannot_be_used_is_an_error(run: Run, store: str, message: str) -> None:
    result = run("jobs", "migrate", "--store", store)
    assert result.exit_code == 2
    assert message in result.stderr
    assert "secret" not in result.stderr
