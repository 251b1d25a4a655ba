"""A model gets a configuration for this machine, and a configuration is found."""

import shutil
from pathlib import Path

import pytest
import yaml

from serve_app.config.adapter import AdapterSource
from serve_app.config.app import AppConfig, ModelConfig
from serve_app.config.published import SIZES
from serve_app.config.serve_schema import faults
from serve_app.launch import target
from serve_app.launch.error import CONFIGURATION, LaunchError
from serve_app.launch.target import Target, find_target
from tests.conftest import CONFIGS

NANO = Path(__file__).parents[2] / "serve_app" / "assets" / "musicgen-nano"


def model_of(found: Target) -> ModelConfig:
    """The only model of a configuration, which must be valid and answer by default."""
    content = yaml.safe_load(found.text)
    assert faults(content) == []
    config = AppConfig.model_validate(content["applications"][0]["args"])
    [model] = config.models
    assert config.default_model == model.model_id
    return model


def fault(name: str, *adapters: AdapterSource) -> str:
    with pytest.raises(LaunchError) as caught:
        find_target(name, adapters)
    assert caught.value.exit_code == CONFIGURATION
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "model_id", "source", "license"),
    [
        ("small", "small", "facebook/musicgen-small", "CC-BY-NC-4.0"),
        ("melody", "melody", "facebook/musicgen-melody", "CC-BY-NC-4.0"),
        ("audiogen", "audiogen", "facebook/audiogen-medium", "CC-BY-NC-4.0"),
        ("me/My_Model.v2", "My_Model.v2", "me/My_Model.v2", "unknown"),
        ("me/auto", "own", "me/auto", "unknown"),
        ("embedded:musicgen-nano", "musicgen-nano", "embedded:musicgen-nano", "Apache-2.0"),
        (str(NANO), "musicgen-nano", str(NANO), "unknown"),
    ],
)
def test_a_model_gets_a_configuration(name: str, model_id: str, source: str, license: str) -> None:
    model = model_of(find_target(name))
    assert (model.model_id, model.model_loading_config.model_source) == (model_id, source)
    assert model.weights_license == license
    assert model.accelerator_type is None


def test_every_size_is_a_model_of_its_own() -> None:
    sources = {model_of(find_target(size)).model_loading_config.model_source for size in SIZES}
    assert len(sources) == len(SIZES) > 10


def test_a_folder_may_have_any_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / '-my: "songs" №1 #'
    shutil.copytree(NANO, folder)
    monkeypatch.chdir(tmp_path)
    model = model_of(find_target(f"./{folder.name}"))
    assert model.model_id == "my-songs-1-"
    assert model.model_loading_config.model_source == str(folder)


def test_a_revision_is_an_option_of_its_own() -> None:
    loading = model_of(find_target("me/model@v1.0")).model_loading_config
    assert loading.pinned_source == "me/model@v1.0"
    assert loading.revision == "v1.0"


@pytest.mark.parametrize("gpus", [0, 1, 3])
def test_it_fits_the_machine(monkeypatch: pytest.MonkeyPatch, gpus: int) -> None:
    monkeypatch.setattr(target, "nvidia_gpus", lambda: gpus)
    monkeypatch.setattr(target, "usable_cpus", lambda: 6)
    found = find_target("me/model")
    model = model_of(found)
    assert model.engine_kwargs.device == ("cuda" if gpus else "cpu")
    scaling = model.deployment_config.autoscaling_config or {}
    assert scaling["max_replicas"] == max(1, gpus)
    resources = {"num_gpus": 1, "num_cpus": 1} if gpus else {"num_cpus": 6}
    assert model.deployment_config.ray_actor_options == resources
    ingress = yaml.safe_load(found.text)["applications"][0]["args"]["ingress_deployment_config"]
    assert ingress["ray_actor_options"] == {"num_cpus": 0}, "one replica takes all cores"


def test_this_machine_alone_may_call_without_keys() -> None:
    content = yaml.safe_load(find_target("me/model").text)
    assert content["http_options"]["host"] == "127.0.0.1"
    assert content["applications"][0]["args"]["api"]["access"]["require_keys"] is False


def test_adapters_are_merged_into_it() -> None:
    adapters = (AdapterSource(source="me/one"), AdapterSource(source="/x/two", weight=0.5))
    model = model_of(find_target("melody", adapters))
    assert model.model_loading_config.model_source == "facebook/musicgen-melody"
    assert model.model_loading_config.adapter_source == adapters


def test_comments_stay_in_their_column() -> None:
    lines = find_target("small").text.splitlines()
    [line] = [line for line in lines if "default_model:" in line]
    [template] = [
        line for line in (CONFIGS / "own.yaml").read_text().splitlines() if "default_model:" in line
    ]
    assert line.index(" # ") == template.index(" # ")


@pytest.mark.parametrize("name", ["nano", "all", "own", str(CONFIGS / "small.yaml")])
def test_a_configuration_is_taken_as_it_is(name: str) -> None:
    found = find_target(name)
    with found.as_file() as file:
        assert file.parent.resolve() == CONFIGS.resolve()
        assert found.text == file.read_text()


def test_a_written_configuration_is_a_file_for_a_while() -> None:
    found = find_target("me/model")
    with found.as_file() as file:
        assert file.name == "model.yaml"
        assert file.read_text() == found.text
    assert not file.exists()


def test_what_is_neither_is_said(tmp_path: Path) -> None:
    said = fault("huge")
    assert said.startswith("'huge' is neither a configuration nor a model. Sizes: small, medium,")
    assert "Configurations: all, fine-tunes, nano, own, or the path of a YAML file." in said
    assert "has neither model.safetensors nor state_dict.bin" in fault(str(tmp_path))


def test_an_adapter_alone_names_the_command(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "me/base"}')
    assert f"musicgen serve me/base --adapter {tmp_path}" in fault(str(tmp_path))


def test_a_configuration_names_its_adapters_itself() -> None:
    said = fault("nano", AdapterSource(source="me/one"))
    assert said.startswith("nano is a configuration: write the adapter there, as adapter_source")
