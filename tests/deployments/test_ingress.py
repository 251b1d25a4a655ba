"""The errors of replicas as callers see them. tests/service covers the ingress at work."""

import pytest
from ray.exceptions import ActorDiedError, ActorUnavailableError, RayTaskError
from ray.serve._private.common import DeploymentID
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError

from serve_app.app import build_app
from serve_app.config.app import AppConfig, ModelConfig
from serve_app.deployments.ingress import card_of, ingress_nodes, max_requests
from serve_app.deployments.replica_errors import as_serve_app_error
from serve_app.errors import (
    ConfigError,
    ModelLoading,
    PromptTooLong,
    QueueFull,
    ReplicaFailed,
    ReplicaUnreachable,
    ServeAppError,
)

PATH = "/root/secret/engine.py"


def from_replica(error: Exception) -> Exception:
    """Wrap the error as Ray does: a RayTaskError whose text is the remote traceback."""
    return RayTaskError("generate", f"Traceback in {PATH}", error).as_instanceof_cause()  # type: ignore[no-any-return]


def with_its_node() -> ActorDiedError:
    error = ActorDiedError()
    error.error_msg = "The actor died because its node has died. Node Id: 1"
    return error


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (from_replica(PromptTooLong("Shorten it.")), PromptTooLong, "Shorten it."),
        (from_replica(QueueFull("Later.", retry_after_s=4.0)), QueueFull, "Later."),
        (
            from_replica(ValueError(PATH)),
            ServeAppError,
            "The model's replica met an unexpected error",
        ),
        (
            BackPressureError(num_queued_requests=3, max_queued_requests=3),
            QueueFull,
            "Too many requests are waiting",
        ),
        (ActorDiedError(), ReplicaFailed, "The replica crashed"),
        (
            with_its_node(),
            ReplicaUnreachable,
            "The replica that made this track became unreachable",
        ),
        (
            ActorUnavailableError("RPC error", None),
            ReplicaUnreachable,
            "The replica that made this track became unreachable",
        ),
        (
            DeploymentUnavailableError(DeploymentID("x", "y")),
            ModelLoading,
            "No replica of this model could be started",
        ),
        (RuntimeError(PATH), ServeAppError, "The model's replica met an unexpected error"),
    ],
    ids=[
        "an error of the request", "a full replica", "an unexpected error of the replica", "backpressure",
        "a dead replica", "a dead node", "a node that does not answer", "no replica", "an error of Ray",
    ],
)  # fmt: skip
def test_errors_are_translated_and_tell_no_more_than_they_should(
    error: Exception, kind: type[ServeAppError], message: str
) -> None:
    raised = as_serve_app_error(error)
    assert type(raised) is kind
    assert raised.message.startswith(message)
    assert PATH not in raised.message


def test_retry_after_survives_the_way_from_the_replica() -> None:
    error = from_replica(QueueFull("Later.", retry_after_s=4.0))
    assert as_serve_app_error(error).retry_after_s == 4.0


def configured(**ingress: int) -> AppConfig:
    loading = {"model_id": "nano", "model_source": "embedded:musicgen-nano"}
    return AppConfig.model_validate(
        {"models": [{"model_loading_config": loading}], "ingress_deployment_config": ingress}
    )


def test_the_ingress_has_room_beyond_its_requests() -> None:
    """Serve's limit is Ray's limit of calls, health checks included."""
    assert max_requests(configured()) == max_requests(configured(num_replicas=2)) == 1000
    assert max_requests(configured(max_ongoing_requests=50)) == 50
    ingress = build_app(configured(max_ongoing_requests=5000).model_dump())
    assert ingress._bound_deployment._deployment_config.max_ongoing_requests == 5100


@pytest.mark.parametrize(
    ("scaling", "scales_to_zero"),
    [
        (None, False),
        ({"min_replicas": 1}, False),
        ({"min_replicas": 0}, True),
        ({"initial_replicas": 0}, True),
    ],
)
def test_a_card_tells_whether_the_model_may_have_no_replica(
    scaling: dict[str, int] | None, scales_to_zero: bool
) -> None:
    [model] = configured().models
    deployment = model.deployment_config.model_copy(update={"autoscaling_config": scaling})
    card = card_of(model.model_copy(update={"deployment_config": deployment}))
    assert card.scales_to_zero is scales_to_zero


def test_a_models_decoders_are_those_of_its_configuration() -> None:
    loading = {"model_id": "nano", "model_source": "embedded:musicgen-nano"}
    plain = ModelConfig.model_validate({"model_loading_config": loading})
    assert card_of(plain).decoders == ("encodec",)
    options = {"multiband_diffusion_source": "folder"}
    able = ModelConfig.model_validate({"model_loading_config": loading, "engine_kwargs": options})
    assert card_of(able).decoders == ("encodec", "multiband_diffusion")


def test_a_store_of_jobs_that_cannot_be_chosen_is_refused_before_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MUSICGEN_JOBS_STORE", "mysql://db/jobs")
    loading = {"model_id": "nano", "model_source": "embedded:musicgen-nano"}
    args = {"models": [{"model_loading_config": loading}]}
    with pytest.raises(ConfigError, match="MUSICGEN_JOBS_STORE must be"):
        build_app(args)
    build_app({**args, "jobs": {"enabled": False}})


def test_nodes_that_an_ingress_replica_fits_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stores of one node are for those clusters where the ingress has a single node to run on."""
    card = {"ray.io/accelerator-type": "A10G"}
    nodes = [
        {"Alive": True, "Resources": {"CPU": 4.0, "head": 1.0}, "Labels": {}},
        {"Alive": True, "Resources": {"CPU": 8.0, "GPU": 1.0}, "Labels": card},
        {"Alive": False, "Resources": {"CPU": 8.0}, "Labels": {}},
    ]
    monkeypatch.setattr("serve_app.deployments.ingress.ray.nodes", lambda: nodes)
    loading = {"model_id": "nano", "model_source": "embedded:musicgen-nano"}
    models = [{"model_loading_config": loading}]
    pinned = {"ray_actor_options": {"num_cpus": 0, "resources": {"head": 0.001}}}
    labelled = {"label_selector": {"ray.io/accelerator-type": "!in(T4,A10G)"}}
    counts = [
        ingress_nodes(AppConfig.model_validate({"models": models, **rest}))
        for rest in (
            {},
            {"ingress_deployment_config": pinned},
            {"ingress_deployment_config": {"ray_actor_options": labelled}},
        )
    ]
    assert counts == [2, 1, 1]
