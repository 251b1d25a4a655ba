"""`musicgen fetch`, kept offline: cached weights are found, others are an error at once."""

from pathlib import Path

import pytest
import torch

from tests.architectures import MONO, make_encodec, put_in_cache, write_audiocraft
from tests.cli.conftest import Run
from tests.conftest import CONFIGS
from tests.raw_server import answer, raw_server


def write_weights(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"weights")


def test_cached_models_are_found(run: Run, hub_cache: Path) -> None:
    put_in_cache(hub_cache, "facebook/musicgen-tiny", write_weights)
    result = run("fetch", "tiny", "embedded:musicgen-nano", "nano")
    assert result.exit_code == 0, result.output
    assert "tiny: " in result.stdout
    assert result.stdout.count("musicgen-nano (0.0") == 2


def test_the_models_of_a_configuration_are_fetched(run: Run, hub_cache: Path) -> None:
    for size in ("small", "medium", "large"):
        put_in_cache(hub_cache, f"facebook/musicgen-{size}", write_weights)
    result = run("fetch", CONFIGS / "all.yaml", CONFIGS / "nano.yaml")
    assert result.exit_code == 0, result.output
    fetched = [line.partition(": ")[0] for line in result.stdout.splitlines() if "GB)" in line]
    assert [name for name in fetched if name.startswith("facebook")] == [
        f"facebook/musicgen-{size}" for size in ("small", "medium", "large")
    ]
    assert "embedded:musicgen-nano: " in result.stdout


def write_adapter(folder: Path) -> None:
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    (folder / "adapter_config.json").write_text("{}")


def test_adapters_are_fetched(run: Run, hub_cache: Path, tmp_path: Path) -> None:
    put_in_cache(hub_cache, "me/fetched-adapter", write_adapter)
    text = (CONFIGS / "nano.yaml").read_text()
    source = "model_source: embedded:musicgen-nano"
    file = tmp_path / "mine.yaml"
    file.write_text(
        text.replace(source, f"adapter_source: me/fetched-adapter\n            {source}")
    )
    for arguments in ([file], ["me/fetched-adapter"]):
        result = run("fetch", *arguments)
        assert result.exit_code == 0, result.output
        assert "me/fetched-adapter: " in result.stdout


def test_demucs_is_fetched_where_it_is_configured(
    run: Run, hub_cache: Path, tmp_path: Path
) -> None:
    put_in_cache(hub_cache, "me/HTDemucs", lambda folder: (folder / "a.safetensors").touch())
    text = (CONFIGS / "nano.yaml").read_text()
    options = "engine_kwargs:\n            melody_stems_source: me/HTDemucs\n"
    file = tmp_path / "mine.yaml"
    file.write_text(text.replace("engine_kwargs:\n", options))
    assert "me/HTDemucs" not in run("fetch", file).output
    file.write_text(
        text.replace("engine_kwargs:\n", f"{options}            melody_stems: demucs\n")
    )
    result = run("fetch", file)
    assert result.exit_code == 0, result.output
    assert "me/HTDemucs: " in result.stdout
    file.write_text(file.read_text().replace("me/HTDemucs", "me/none"))
    assert "me/none is not in the cache" in run("fetch", file).stderr


def test_parts_that_an_export_names_are_fetched(run: Run, hub_cache: Path, tmp_path: Path) -> None:
    """AudioCraft's exports hold no text encoder, and often name their codec alone."""
    export = write_audiocraft(MONO, tmp_path / "export", hub_cache)
    put_in_cache(hub_cache, "someone/named-encodec", make_encodec(MONO).save_pretrained)
    named = {"pretrained": "//pretrained/someone/named-encodec", "version": "1.3.0"}
    torch.save(named, export / "compression_state_dict.bin")
    result = run("fetch", export)
    assert result.exit_code == 0, result.output
    sources = [line.partition(": ")[0] for line in result.stdout.splitlines() if "GB)" in line]
    assert sources == [str(export), MONO.t5_name, "someone/named-encodec"]

    text = (CONFIGS / "nano.yaml").read_text()
    mine = f"model_source: {export}\n            codec_source: me/own-codec"
    file = tmp_path / "mine.yaml"
    file.write_text(text.replace("model_source: embedded:musicgen-nano", mine))
    put_in_cache(hub_cache, "me/own-codec", write_weights)
    assert "someone/named-encodec" not in run("fetch", file).stdout


def test_a_faulty_configuration_is_an_error(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text("models: []\n")
    result = run("fetch", file)
    assert result.exit_code == 1
    assert "is not a Serve configuration" in result.stderr
    assert "Traceback" not in result.output


def test_a_folder_is_found(run: Run, tmp_path: Path) -> None:
    result = run("fetch", tmp_path)
    assert result.exit_code == 0
    assert result.stdout == f"{tmp_path}: {tmp_path} (0.00 GB)\n"


def test_a_revision_is_fetched(run: Run, hub_cache: Path) -> None:
    def write(folder: Path) -> None:
        (folder / "model.safetensors").write_bytes(b"weights")

    put_in_cache(hub_cache, "facebook/musicgen-pinned", write)
    result = run("fetch", f"pinned@{'0' * 40}")
    assert result.exit_code == 0
    assert "0" * 40 in result.stdout.replace("\n", "")
    result = run("fetch", f"pinned@{'1' * 40}")
    assert result.exit_code == 1
    message = " ".join(result.stderr.split())
    assert "facebook/musicgen-pinned@1111" in message


def test_the_form_of_a_model_is_chosen(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the option of the command, and by the option of a configuration."""
    patterns: list[list[str]] = []

    def snapshot(_: str, revision: str | None, allow_patterns: list[str]) -> str:
        assert revision is None
        patterns.append(allow_patterns)
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    file = tmp_path / "melody.yaml"
    form = "model_id: melody\n            checkpoint_form: audiocraft"
    file.write_text((CONFIGS / "melody.yaml").read_text().replace("model_id: melody", form, 1))
    for arguments in (("melody", "--form", "audiocraft"), (file,)):
        result = run("fetch", *arguments)
        assert result.exit_code == 0, result.output
    assert len(patterns) >= 2
    assert {tuple(one) for one in patterns} == {("state_dict.bin", "compression_state_dict.bin")}
    assert run("fetch", "melody", "--form", "onnx").exit_code == 2


def test_a_missing_model_is_an_error(run: Run) -> None:
    result = run("fetch", "huge")
    assert result.exit_code == 1
    message = " ".join(result.stderr.split())
    assert "facebook/musicgen-huge is not in the cache (HF_HOME). Check the network" in message
    assert "`musicgen serve nano` needs no download" in message


def test_without_a_network_the_hub_is_asked_once(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub's library alone would try again for minutes."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    with raw_server(answer("502 Bad Gateway")) as proxy:
        monkeypatch.setenv("HF_ENDPOINT", proxy.url)
        result = run("fetch", "huge")
        assert f"The hub ({proxy.url}) cannot be reached" in " ".join(result.stderr.split())
    assert result.exit_code == 1
    assert len(proxy.requests) == 1


def test_an_impossible_name_is_an_error(run: Run) -> None:
    result = run("fetch", "a/b/c")
    assert result.exit_code == 1
    assert "Traceback" not in result.output
