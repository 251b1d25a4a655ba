"""Options: every one is described, the page in docs/ is the descriptions', errors say what to do."""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic import BaseModel, ValidationError
from ray import serve
from ray.serve.schema import DeploymentSchema, ServeApplicationSchema, ServeDeploySchema

from serve_app.config.api import LOCAL_ORIGINS, AccessConfig, ApiConfig
from serve_app.config.app import AppConfig, EngineConfig, ModelConfig
from serve_app.config.closed_model import ClosedModel
from serve_app.config.deployment import DeploymentConfig
from serve_app.config.model_loading import ModelLoadingConfig
from tools import configuration_docs

FILES = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))


def sections_of(annotation: Any) -> Iterator[type[BaseModel]]:
    """The sections of the configuration that a type has in it, and those within them."""
    if isinstance(annotation, type) and issubclass(annotation, ClosedModel):
        yield annotation
        for field in annotation.model_fields.values():
            yield from sections_of(field.annotation)
    for argument in get_args(annotation):
        yield from sections_of(argument)


SECTIONS = list(dict.fromkeys(sections_of(AppConfig)))
OPTIONS = [(one, name) for one in SECTIONS for name in one.model_fields]


def description(owner: type[BaseModel], name: str) -> str:
    """The description on one line, as the page has it."""
    return " ".join(str(owner.model_fields[name].description).split())


def model(model_id: str, **options: Any) -> dict[str, Any]:
    loading = {"model_id": model_id, "model_source": "embedded:musicgen-nano"}
    return {"model_loading_config": loading, **options}


@pytest.mark.parametrize(
    ("owner", "name"), OPTIONS, ids=[f"{owner.__name__}.{name}" for owner, name in OPTIONS]
)
def test_every_option_is_described(owner: type[BaseModel], name: str) -> None:
    """In a sentence or more; an option that may be None says what that stands for."""
    text = description(owner, name)
    assert re.fullmatch(r"[A-Z`].{10,}\.", text), text
    assert owner.model_fields[name].default is not None or " Default: " in text


def test_every_section_has_a_table() -> None:
    assert {section for _, _, section in configuration_docs.SECTIONS} == set(SECTIONS)


def test_the_page_is_up_to_date() -> None:
    assert configuration_docs.PAGE.read_text() == configuration_docs.page(), "make docs"


@pytest.mark.parametrize(("owner", "name"), OPTIONS)
def test_the_page_has_every_option(owner: type[BaseModel], name: str) -> None:
    meaning = description(owner, name).partition(" Default: ")[0]
    line = rf"^\| `{name}` \| .* \| {re.escape(meaning)} \|$"
    assert re.search(line, configuration_docs.PAGE.read_text(), re.MULTILINE)


def test_a_stale_page_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    monkeypatch.setattr(configuration_docs, "PAGE", folder / "configuration.md")
    monkeypatch.setattr("sys.argv", ["configuration_docs"])
    configuration_docs.main()
    assert "is written" in capsys.readouterr().out
    monkeypatch.setattr("sys.argv", ["configuration_docs", "--check"])
    configuration_docs.main()
    assert "is up to date" in capsys.readouterr().out
    configuration_docs.PAGE.write_text("an older page")
    with pytest.raises(SystemExit, match="is out of date"):
        configuration_docs.main()


def sections(
    value: Any, owner: type[BaseModel] = AppConfig
) -> Iterator[tuple[type[BaseModel], str]]:
    """Every option of `args` with the section that it stands in."""
    inner: dict[str, type[BaseModel]] = {
        "models": ModelConfig,
        "model_loading_config": ModelLoadingConfig,
        "engine_kwargs": EngineConfig,
        "deployment_config": DeploymentConfig,
        "ingress_deployment_config": DeploymentConfig,
        "api": ApiConfig,
        "access": AccessConfig,
    }
    for name, content in value.items():
        yield owner, name
        for one in content if isinstance(content, list) else [content]:
            if name in inner:
                yield from sections(one, inner[name])


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_option_of_a_file_exists(file: Path) -> None:
    [application] = yaml.safe_load(file.read_text())["applications"]
    used = list(sections(application["args"]))
    assert len(used) > 25
    assert [(owner, name) for owner, name in used if name not in owner.model_fields] == []


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_option_of_serve_in_a_file_is_documented(file: Path) -> None:
    content = yaml.safe_load(file.read_text())
    [application] = content.pop("applications")
    assert set(content) <= set(ServeDeploySchema.model_fields)
    assert set(application) <= set(ServeApplicationSchema.model_fields)
    names = {f"applications[].{name}" for name in application}
    for name, value in content.items():
        names |= {f"{name}.{one}" for one in value} if isinstance(value, dict) else {name}
    assert names <= set(configuration_docs.SERVE_OPTIONS)


@pytest.mark.parametrize(
    ("owner", "options", "said"),
    [
        (EngineConfig, {"kernels": "cuda"}, "Input should be 'auto', 'eager' or 'triton'"),
        (EngineConfig, {"max_slots": 0}, "greater than or equal to 1"),
        (EngineConfig, {"max_slots": 1025}, "less than or equal to 1024"),
        (EngineConfig, {"chunk_s": 0}, "greater than 0"),
        (
            DeploymentConfig,
            {"num_replicas": 2, "autoscaling_config": {}},
            r"num_replicas \(2\) and autoscaling_config exclude each other",
        ),
        (DeploymentConfig, {"max_queued_requests": -2}, "greater than or equal to -1"),
        (
            AppConfig,
            {"models": [model("a"), model("b", aliases=["a"])]},
            r"must be unique, but \['a'\] are used more than once: rename them",
        ),
        (AppConfig, {"models": [model("auto")]}, "'auto' is reserved"),
        (
            AppConfig,
            {"models": [model("a")], "default_model": "b"},
            r"default_model 'b' is not served: use one of \['a'\]",
        ),
        (
            AppConfig,
            {"models": [model("a", fallbacks=["a", "c"]), model("b")]},
            r"fallbacks of 'a' name \['a', 'c'\].* use some of \['b'\]",
        ),
        (AccessConfig, {"keys_env": "lower"}, "should match pattern"),
    ],
)
def test_a_wrong_value_is_told_with_what_to_do(
    owner: type[BaseModel], options: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValidationError, match=said):
        owner.model_validate(options)


def test_defaults() -> None:
    """The values that files in the field rely on."""
    engine = EngineConfig()
    assert (engine.device, engine.precision, engine.max_slots) == ("auto", "auto", None)
    assert (engine.max_duration_s, engine.max_prompt_tokens) == (120.0, 256)
    assert (engine.first_chunk_s, engine.chunk_s) == (0.4, 1.0)
    assert (engine.prompt_cache_size, engine.pin_batch_shape) == (64, False)
    api = ApiConfig()
    assert (api.max_prompt_chars, api.max_header_bytes) == (2000, 32_768)
    assert (api.max_body_bytes, api.max_upload_bytes) == (65_536, 16_777_216)
    bounds = (api.max_audio_prompt_s, api.max_melody_s, api.max_conversion_s)
    assert bounds == (30.0, 120.0, 600.0)
    assert api.cors_origins == LOCAL_ORIGINS
    assert (api.access.keys_env, api.access.require_keys) == ("MUSICGEN_API_KEYS", False)
    deployment = DeploymentConfig()
    assert deployment.health_check_period_s == 2.0
    assert deployment.health_check_timeout_s == 10.0
    assert deployment.graceful_shutdown_timeout_s == 600.0


def test_deployments_have_the_options_of_ray_serve() -> None:
    """The schema of the file has no `max_constructor_retry_count`; the decorator has."""
    ours = set(DeploymentConfig.model_fields) - {"max_constructor_retry_count"}
    assert ours == set(DeploymentSchema.model_fields) - {"name"}
    decorator = set(inspect.signature(serve.deployment).parameters) - {"name", "version"}
    assert set(DeploymentConfig.model_fields) == decorator - {"_func_or_class"}


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("num_replicas", "auto"),
        ("max_queued_requests", -1),
        ("graceful_shutdown_timeout_s", 0),
        ("graceful_shutdown_wait_loop_s", 0),
        ("max_surge_percent", 0),
        ("max_surge_percent", 100),
        ("rolling_update_percentage", 1),
        ("max_replicas_per_node", 100),
        ("user_config", {}),
        ("placement_group_bundles", [{"CPU": 1}]),
    ],
)
def test_deployments_take_the_extreme_values_of_ray_serve(option: str, value: Any) -> None:
    assert DeploymentSchema.model_validate({"name": "a", option: value})
    assert getattr(DeploymentConfig.model_validate({option: value}), option) == value


def test_options_do_not_change() -> None:
    engine = EngineConfig()
    with pytest.raises(ValidationError, match="frozen"):
        engine.max_slots = 3
