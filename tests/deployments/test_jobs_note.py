"""A replica's knowledge of queued jobs, which is outdated after a while."""

import pytest

from serve_app.deployments.jobs_note import JobsNote
from tests.fakes import Clock


def test_what_was_told_of_jobs_counts_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    now = Clock()
    monkeypatch.setattr("serve_app.deployments.jobs_note.monotonic", now)
    note = JobsNote()
    assert note.audio_s == 0.0
    note.take(120.0)
    now.now += 9.9
    assert note.audio_s == 120.0
    now.now += 0.1
    assert note.audio_s == 0.0
