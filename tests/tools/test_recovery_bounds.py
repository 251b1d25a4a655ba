"""Times until Serve notices a failure: those that docs/operations.md states are those of the shipped configurations."""

import pytest
import yaml

from serve_app.config.deployment import DeploymentConfig
from serve_app.launch.serve_process import ENVIRONMENT
from tests.conftest import CONFIGS
from tests.sources import ROOT
from tools.recovery_bounds import ended_proxy_s, ended_replica_s, hung_proxy_s, hung_replica_s

OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
PROXY_PERIOD_S = float(ENVIRONMENT["RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S"])


@pytest.mark.parametrize(
    ("period_s", "timeout_s", "ended_s", "hung_s"),
    [(2.0, 10.0, 2.2, 32.2), (1.0, 30.0, 1.1, 91.1), (10.0, 1.0, 11.0, 34.0)],
)
def test_a_replica_is_checked_three_times(
    period_s: float, timeout_s: float, ended_s: float, hung_s: float
) -> None:
    config = DeploymentConfig(health_check_period_s=period_s, health_check_timeout_s=timeout_s)
    assert ended_replica_s(config) == pytest.approx(ended_s)
    assert hung_replica_s(config) == pytest.approx(hung_s)


def test_a_proxy_is_checked_three_times() -> None:
    assert (ended_proxy_s(10.0), hung_proxy_s(10.0)) == (30.0, 60.0)


def deployments() -> list[DeploymentConfig]:
    """All deployments of the configurations, with the defaults of what they leave out."""
    found = []
    for file in CONFIGS.glob("*.yaml"):
        for application in yaml.safe_load(file.read_text())["applications"]:
            args = application["args"]
            sections = [model.get("deployment_config", {}) for model in args["models"]]
            for section in (*sections, args.get("ingress_deployment_config", {})):
                found.append(DeploymentConfig.model_validate(section))
    return found


def test_the_documentation_states_the_times_of_all_configurations() -> None:
    [ended_s] = {ended_replica_s(config) for config in deployments()}
    [hung_s] = {hung_replica_s(config) for config in deployments()}
    rows = [
        f"| a replica, of the ingress too | {ended_s:g} s | {hung_s:g} s |",
        f"| a proxy | {ended_proxy_s(PROXY_PERIOD_S):g} s | {hung_proxy_s(PROXY_PERIOD_S):g} s |",
    ]
    assert [row for row in rows if row not in OPERATIONS] == []
