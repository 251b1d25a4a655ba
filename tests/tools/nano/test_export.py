"""A trained checkpoint becomes the package's model."""

from pathlib import Path

import pytest
import soundfile

from serve_app.models.checkpoint import load_checkpoint, resolve
from tests.conftest import EMBEDDED
from tools.nano import export


def test_the_package_gets_the_model_and_samples_and_keeps_its_card(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "SAMPLE_S", 1.0)
    package = tmp_path / "package"
    package.mkdir()
    (package / "README.md").write_text("the card")
    (tmp_path / "checkpoint").mkdir()
    for file in resolve(EMBEDDED).iterdir():
        if file.is_file() and file.suffix != ".md":
            (tmp_path / "checkpoint" / file.name).write_bytes(file.read_bytes())
    export.export(tmp_path, package)
    assert (package / "README.md").read_text() == "the card"
    assert load_checkpoint(str(package)).sample_rate == 32_000
    samples = sorted((package / "samples").iterdir())
    assert [file.stem for file in samples] == sorted(export.SAMPLES)
    assert {soundfile.info(file).duration for file in samples} == {1.0}
