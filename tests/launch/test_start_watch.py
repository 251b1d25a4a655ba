"""Reasons why a deploying application will not run, from states that Ray Serve 2.60 reported."""

from typing import Any

import pytest

from serve_app.launch.start_watch import activity, failure

NODE = {"CPU": 2.0, "memory": 1e10, "node:127.0.0.1": 1.0}
RETRYING = (
    "A replica failed to start with exception. Retrying 2 more time(s). Error:\n"
    "ray::ServeReplica:musicgen:MusicGen:nano.initialize_and_get_metadata() (pid=1)\n"
    '  File "/x/replica.py", line 1928, in initialize\n'
    "    raise RuntimeError(traceback.format_exc()) from None\n"
    "RuntimeError: Traceback (most recent call last):\n"
    '  File "/x/serve_app/checkpoints/tensor_store.py", line 87, in fill\n'
    "    raise CheckpointError(\n"
)
OWN = RETRYING + "serve_app.errors.CheckpointError: /m: tensor 'x' is missing"


def application(status: str = "DEPLOYING", **model: Any) -> dict[str, Any]:
    ingress = {
        "status": "HEALTHY",
        "message": "",
        "target_num_replicas": 1,
        "required_resources": {"CPU": 0.1},
        "replicas": [{"state": "RUNNING", "log_file_path": "/serve/ingress.log"}],
    }
    nano = {
        "status": "UPDATING",
        "message": "",
        "target_num_replicas": 1,
        "required_resources": {"CPU": 1},
        "replicas": [{"state": "STARTING"}],
        "recent_dead_replicas": [],
    }
    deployments = {"MusicGen:nano": nano | model, "Ingress": ingress}
    return {"status": status, "message": "", "deployments": deployments}


@pytest.mark.parametrize(
    "state", [{}, {"status": "DEPLOYING"}, application(), application("RUNNING")]
)
@pytest.mark.parametrize("nodes", [[], [NODE]])
def test_what_may_still_start_is_no_failure(state: Any, nodes: Any) -> None:
    assert failure(state, nodes) is None


def test_the_first_failure_of_a_constructor_counts() -> None:
    state = application(message=OWN)
    assert failure(state, [NODE]) == (
        "A replica of MusicGen:nano cannot start: /m: tensor 'x' is missing"
    )


def test_the_log_of_the_replica_that_failed_first_is_named() -> None:
    dead = [{"log_file_path": "/serve/first.log"}, {"log_file_path": "/serve/second.log"}]
    reason = failure(application(message=OWN, recent_dead_replicas=dead), [NODE])
    assert reason is not None
    assert reason.splitlines()[1].startswith("Its log: /")
    assert reason.endswith("/logs/serve/first.log")


def test_a_process_that_died_is_told_without_its_ids() -> None:
    message = (
        "A replica failed to start with exception. Retrying 2 more time(s). Error:\n"
        "The actor died unexpectedly before finishing this task.\n"
        "\tclass_name: ServeReplica:musicgen:MusicGen:nano\n\tactor_id: 0091dbb5\n\tpid: 19228\n"
        "The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR"
    )
    assert failure(application(message=message), [NODE]) == (
        "A replica of MusicGen:nano cannot start: The actor died unexpectedly before finishing this "
        "task.\nThe actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR"
    )


def test_a_deployment_that_failed_is_a_failure() -> None:
    state = application(status="DEPLOY_FAILED")
    model = state["deployments"]["MusicGen:nano"]
    model |= {
        "status": "DEPLOY_FAILED",
        "message": "The deployment failed to start 3 times in a row.",
    }
    assert failure(state, []) == (
        "A replica of MusicGen:nano cannot start: The deployment failed to start 3 times in a row."
    )


def test_an_application_that_cannot_be_built_is_a_failure() -> None:
    message = (
        "Deploying app 'musicgen' failed with exception:\nTraceback (most recent call last):\n"
        '  File "/x/importlib/__init__.py", line 126, in import_module\n'
        "    return _bootstrap._gcd_import(name[level:], package, level)\n"
        "           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^\n"
        "ModuleNotFoundError: No module named 'no_such'\n"
    )
    state = {"status": "DEPLOY_FAILED", "message": message, "deployments": {}}
    assert failure(state, [NODE]) == (
        "The application could not be built: ModuleNotFoundError: No module named 'no_such'"
    )


def test_a_resource_that_no_node_has_is_a_failure() -> None:
    reason = failure(application(required_resources={"CPU": 1, "GPU": 1}), [NODE])
    assert reason is not None
    assert reason.startswith(
        "No node can run a replica of MusicGen:nano: it needs 1 GPU and 1 CPU."
    )


def test_too_many_replicas_are_a_failure() -> None:
    reason = failure(application(target_num_replicas=5), [NODE])
    assert reason is not None
    assert reason.startswith("The replicas need 5.1 CPUs together.")


def test_a_model_without_replicas_at_the_start_needs_no_node() -> None:
    state = application(target_num_replicas=0, required_resources={"CPU": 1, "GPU": 1})
    assert failure(state, [NODE]) is None


def test_the_wait_for_the_import_is_told() -> None:
    assert activity({}) == ""
    assert activity(application()) == ""
    assert activity({"status": "DEPLOYING"}) == "importing it"
    config = {"runtime_env": {"pip": ["x"]}}
    installing = {"status": "DEPLOYING", "deployed_app_config": config}
    assert activity({"status": "RUNNING", "deployed_app_config": config}) == ""
    assert activity(installing).startswith("installing its runtime_env (log: /")
