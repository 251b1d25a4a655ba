"""`musicgen convert-mbd` writes a folder once."""

from pathlib import Path

from serve_app.checkpoints.diffusion_file import FACTS, WEIGHTS, read_facts
from tests.cli.conftest import Run
from tests.diffusion import NUM_BANDS, write_diffusion


def test_a_published_file_is_converted_once(run: Run, tmp_path: Path) -> None:
    source = write_diffusion(tmp_path / "mbd.th", 32_000, 16)
    folder = tmp_path / "mbd"
    result = run("convert-mbd", source, folder)
    assert result.exit_code == 0, result.output
    assert f"multiband_diffusion_source: {folder}" in result.stdout
    assert f"{NUM_BANDS} bands at 32000 Hz" in result.stdout
    assert "CC-BY-NC 4.0" in result.stdout
    weights, facts = read_facts(str(folder))
    assert (weights, facts.sample_rate) == (folder / WEIGHTS, 32_000)
    again = run("convert-mbd", source, folder)
    assert (again.exit_code, "exists already" in again.stderr) == (2, True)
    forced = run("convert-mbd", source, folder, "--force")
    assert forced.exit_code == 0, forced.output
    refused = run("convert-mbd", folder / FACTS, tmp_path / "other")
    assert (refused.exit_code, "is no file of torch.save" in refused.stderr) == (1, True)
