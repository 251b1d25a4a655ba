"""Every file in configs/ is a valid Serve configuration of a valid application, and explains itself."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError
from ray.serve.config import AutoscalingConfig
from ray.serve.exceptions import RayServeException
from ray.serve.schema import ServeDeploySchema

from serve_app.app import build_app
from serve_app.config.app import AppConfig, EngineConfig
from serve_app.config.model_loading import ModelLoadingConfig
from serve_app.deployments.actor_options import demand
from serve_app.deployments.autoscaling import CpuPolicy, DrainTimePolicy
from serve_app.errors import ConfigError
from tests.credentials import expired_pair, pair, stored

FILES = sorted((Path(__file__).parent.parent / "configs").glob("*.yaml"))
SINGLE = [
    *("small", "medium", "large", "melody", "stereo-large", "stereo-melody-large"),
    *("audiogen", "own", "fine-tunes"),
]
NANO = next(file for file in FILES if file.name == "nano.yaml")


def args_of(file: Path) -> dict[str, Any]:
    args: dict[str, Any] = yaml.safe_load(file.read_text())["applications"][0]["args"]
    return args


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUSICGEN_API_KEYS", "web:0123456789abcdef")


def test_the_sizes_are_there() -> None:
    assert {file.stem for file in FILES} == {"nano", "all", *SINGLE}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_configuration_is_valid(file: Path) -> None:
    schema = ServeDeploySchema.model_validate(yaml.safe_load(file.read_text()))
    [application] = schema.applications
    assert application.import_path == "serve_app.app:build_app"
    config = AppConfig.model_validate(application.args)
    for model in config.models:
        autoscaling = model.deployment_config.autoscaling_config
        if autoscaling is not None:
            scaling = AutoscalingConfig(**autoscaling)
            assert isinstance(
                scaling.policy.get_policy()(**scaling.policy.policy_kwargs), DrainTimePolicy
            )
    assert build_app(application.args) is not None


def scaling_of(file: Path) -> list[dict[str, Any]]:
    """The options by which each model of the file scales, without its bounds."""
    configs = [model["deployment_config"] for model in args_of(file)["models"]]
    return [
        {
            name: value
            for name, value in config["autoscaling_config"].items()
            if "replicas" not in name
        }
        for config in configs
        if "autoscaling_config" in config
    ]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_models_scale_by_the_options_that_are_measured(file: Path) -> None:
    """`python -m benchmarks.autoscaling` measures those of the first model of all.yaml."""
    measured = scaling_of(FILES[0].with_name("all.yaml"))[0]
    assert scaling_of(file) == [measured] * len(scaling_of(file))


def test_a_lull_shorter_than_a_start_stops_no_replica() -> None:
    """Shorter downscale delays make it thrash: 30 s nearly double the starts of replicas.

    No upscale delay is needed for that: the load is averaged over `look_back_period_s`, and Serve compares
    the number wanted with the number asked for, so that a load asks for nothing twice.
    """
    for options in scaling_of(FILES[0].with_name("all.yaml")):
        scaling = AutoscalingConfig(**options)
        assert scaling.downscale_delay_s >= 180
        assert scaling.look_back_period_s >= 20, "two reports of a replica"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_idle_connections_outlive_those_of_load_balancers(file: Path) -> None:
    """Their usual 60 s: a connection that the server closes first loses a request now and then."""
    assert yaml.safe_load(file.read_text())["http_options"]["keep_alive_timeout_s"] > 75


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_replicas_finish_their_requests(file: Path) -> None:
    longest_s = yaml.safe_load(file.read_text())["http_options"]["request_timeout_s"]
    config = AppConfig.model_validate(args_of(file))
    models = [model.deployment_config for model in config.models]
    for deployment in [*models, config.ingress_deployment_config]:
        assert deployment.graceful_shutdown_timeout_s >= longest_s


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_an_ingress_scales_on_its_cpu_and_refuses_beyond_its_line(file: Path) -> None:
    ingress = AppConfig.model_validate(args_of(file)).ingress_deployment_config
    assert ingress.max_queued_requests == 200
    assert ingress.backpressure_config == {"status_code": 429, "retry_after_s": 2}
    if ingress.autoscaling_config is not None:
        scaling = AutoscalingConfig(**ingress.autoscaling_config)
        assert scaling.policy.get_policy() is CpuPolicy
        CpuPolicy(**scaling.policy.policy_kwargs)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_option_is_explained(file: Path) -> None:
    """Each option that has a value has a comment where it first stands."""
    explained: set[str] = set()
    for line in file.read_text().splitlines():
        option, _, rest = line.strip().removeprefix("- ").partition(":")
        if rest.strip() and not line.strip().startswith("#") and option not in explained:
            assert " # " in rest, line
            explained.add(option)
    assert len(explained) > 20


@pytest.mark.parametrize("size", [*SINGLE, "all"])
def test_every_option_of_a_gpus_engine_is_named(size: str) -> None:
    """With a value, or in a comment that may become a line."""
    named = {
        line.strip().removeprefix("# ").partition(":")[0]
        for line in FILES[0].with_name(f"{size}.yaml").read_text().splitlines()
    }
    others = {"num_threads"}  # of a CPU
    if "melody" not in size and size != "own":
        others |= {"melody_stems", "melody_stems_source"}
    if size == "audiogen":
        others |= {"multiband_diffusion_source"}  # of 32 kHz
    assert EngineConfig.model_fields.keys() - named == others


def test_all_serves_every_size_on_its_own() -> None:
    config = AppConfig.model_validate(args_of(FILES[0].with_name("all.yaml")))
    assert [model.model_id for model in config.models] == ["small", "medium", "large"]
    assert all(model.deployment_config.autoscaling_config for model in config.models)


@pytest.mark.parametrize("size", SINGLE)
def test_a_single_size_takes_any_card_and_as_many_slots_as_fit(size: str) -> None:
    [model] = AppConfig.model_validate(args_of(FILES[0].with_name(f"{size}.yaml"))).models
    assert model.accelerator_type is None
    assert model.engine_kwargs.max_slots is None
    assert demand(model).resources == {"CPU": 2.0, "GPU": 1.0}


def test_ongoing_requests_follow_the_slots() -> None:
    args = args_of(NANO)
    args["models"][0]["engine_kwargs"]["max_slots"] = 5
    ingress = build_app(args)
    [handle] = ingress._bound_deployment.init_args[1].values()
    assert handle._bound_deployment.name == "MusicGen:nano"
    assert handle._bound_deployment.max_ongoing_requests == 6


def test_accelerator_type_asks_for_a_gpu_of_that_kind() -> None:
    ingress = build_app(args_of(FILES[0].with_name("all.yaml")))
    handle = ingress._bound_deployment.init_args[1]["medium"]
    assert handle._bound_deployment.ray_actor_options | {"num_cpus": 2} == {
        "num_gpus": 1,
        "num_cpus": 2,
        "accelerator_type": "A10G",
    }


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"modles": []}, "modles"),
        ({"models": []}, "models"),
        ({"default_model": "huge"}, "default_model 'huge' is not served"),
        ({"api": {"max_body_bytes": 0}}, "max_body_bytes"),
        ({"api": {"cors": ["*"]}}, "api.cors"),
    ],
)
def test_wrong_options_are_named(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        build_app(args_of(NANO) | change)


def test_names_are_unique() -> None:
    model = args_of(NANO)["models"][0]
    with pytest.raises(
        ValidationError,
        match=r"\['large', 'medium', 'melody', 'nano', 'small'\] are used more than once",
    ):
        AppConfig.model_validate({"models": [model, model]})


def test_only_one_way_to_scale() -> None:
    args = args_of(NANO)
    args["models"][0]["deployment_config"] |= {
        "num_replicas": 1,
        "autoscaling_config": {"max_replicas": 2},
    }
    with pytest.raises(ConfigError, match="not both"):
        build_app(args)


def loading_config(**options: str) -> ModelLoadingConfig:
    return ModelLoadingConfig.model_validate({"model_id": "x", **options})


def test_a_revision_pins_the_source() -> None:
    hub = "facebook/musicgen-small"
    assert loading_config(model_source=hub).pinned_source == hub
    assert loading_config(model_source=hub, revision="a1b2").pinned_source == f"{hub}@a1b2"


@pytest.mark.parametrize(
    "source", ["embedded:musicgen-nano", "/mnt/model", "./a/b", f"facebook/musicgen-small@{1}"]
)
def test_only_hub_ids_have_revisions(source: str) -> None:
    with pytest.raises(ValidationError, match=f"model_source '{source}' is not a hub id"):
        loading_config(model_source=source, revision="a1b2")


@pytest.mark.parametrize("revision", ["", "../x", "a b", "@1"])
def test_odd_revisions_are_refused(revision: str) -> None:
    with pytest.raises(ValidationError, match="revision"):
        loading_config(model_source="facebook/musicgen-small", revision=revision)


@pytest.mark.parametrize(
    ("source", "license", "public"),
    [
        ("facebook/musicgen-small", "CC-BY-NC-4.0", "facebook/musicgen-small"),
        ("facebook/audiogen-medium", "CC-BY-NC-4.0", "facebook/audiogen-medium"),
        ("facebook/magnet-small-10secs", "CC-BY-NC-4.0", "facebook/magnet-small-10secs"),
        ("facebook/audio-magnet-small", "CC-BY-NC-4.0", "facebook/audio-magnet-small"),
        ("facebook/other", "unknown", "facebook/other"),
        ("embedded:musicgen-nano", "Apache-2.0", "embedded:musicgen-nano"),
        ("/mnt/secret/place/my-model", "unknown", "my-model"),
        ("./models/my-model", "unknown", "my-model"),
    ],
)
def test_what_callers_see_of_a_source(source: str, license: str, public: str) -> None:
    loading = {"model_id": "x", "model_source": source}
    model = AppConfig.model_validate({"models": [{"model_loading_config": loading}]}).models[0]
    assert (model.weights_license, model.public_source) == (license, public)


@pytest.mark.parametrize(
    ("base", "license", "reported"),
    [
        ("facebook/musicgen-small", None, "CC-BY-NC-4.0"),
        ("embedded:musicgen-nano", None, "unknown"),
        ("embedded:musicgen-nano", "MIT", "MIT"),
    ],
)
def test_an_adapter_is_part_of_source_and_licence(
    base: str, license: str | None, reported: str
) -> None:
    adapters = [{"source": "/mnt/secret/jazz"}, {"source": "me/punk", "weight": 0.5}]
    loading = {"model_id": "x", "model_source": base, "adapter_source": adapters}
    options = {"model_loading_config": loading, "license": license}
    [model] = AppConfig.model_validate({"models": [options]}).models
    assert (model.weights_license, model.public_source) == (reported, f"{base} + jazz + me/punk")


def test_an_adapter_may_be_named_alone() -> None:
    loading = loading_config(model_source="me/base", adapter_source="me/punk")
    [adapter] = loading.adapter_source
    assert (adapter.source, adapter.weight) == ("me/punk", 1.0)


def test_wrong_adapters_are_named() -> None:
    args = args_of(NANO)
    args["models"][0]["model_loading_config"]["adapter_source"] = [{"source": "a/b", "wieght": 1}]
    with pytest.raises(
        ConfigError, match=r"adapter_source\[0\].wieght: unknown option. Did you mean"
    ):
        build_app(args)


def test_missing_keys_end_the_build_with_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Serve shows the message of a RayServeException alone, and the traceback of any other error."""
    monkeypatch.delenv("MUSICGEN_API_KEYS")
    args = args_of(FILES[0].with_name("small.yaml"))
    with pytest.raises(ConfigError, match="API keys are required, and there are none") as caught:
        build_app(args)
    assert isinstance(caught.value, RayServeException)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("place", ["variable of the ingress", "file of the ingress's nodes"])
def test_keys_of_the_ingress_alone_are_enough(monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    monkeypatch.delenv("MUSICGEN_API_KEYS")
    args = args_of(FILES[0].with_name("small.yaml"))
    if place.startswith("variable"):
        variables = {"env_vars": {"MUSICGEN_API_KEYS": "web:0123456789abcdef"}}
        args["ingress_deployment_config"]["ray_actor_options"] = {"runtime_env": variables}
    else:
        args["api"]["access"]["keys_file"] = "/on/other/nodes/keys"
    assert build_app(args) is not None


def test_an_empty_keys_file_ends_the_build(tmp_path: Path) -> None:
    args = args_of(FILES[0].with_name("small.yaml"))
    (tmp_path / "keys").write_text("")
    args["api"]["access"]["keys_file"] = str(tmp_path / "keys")
    with pytest.raises(ConfigError, match="There are no API keys in keys"):
        build_app(args)


@pytest.mark.parametrize("place", ["nowhere", "variables of the ingress", "files of its nodes"])
def test_missing_signing_credentials_end_the_build(place: str) -> None:
    args = args_of(NANO) | {"provenance": {"required": True}}
    if place == "nowhere":
        with pytest.raises(ConfigError, match=r"provenance\.required: true needs a certificate"):
            build_app(args)
        return
    if place.startswith("variables"):
        variables = {
            "MUSICGEN_C2PA_CERTIFICATE": pair().chain.decode(),
            "MUSICGEN_C2PA_PRIVATE_KEY": pair().private_key.decode(),
        }
        actor = {"runtime_env": {"env_vars": variables}}
        args["ingress_deployment_config"]["ray_actor_options"] = actor
    else:
        args["provenance"] |= {"certificate_file": "/on/a.pem", "private_key_file": "/on/b.pem"}
    assert build_app(args) is not None


def test_an_expired_certificate_ends_the_build(tmp_path: Path) -> None:
    options = stored(tmp_path, expired_pair()).model_dump(exclude_defaults=True)
    with pytest.raises(ConfigError, match="expired on"):
        build_app(args_of(NANO) | {"provenance": options})
