"""The tests of permits, with the actor of a real Ray as coordinator."""

import asyncio
import contextlib
from dataclasses import replace

import pytest
import ray

from serve_app.config.deployment import DeploymentConfig
from serve_app.deployments.ledger_actor import (
    NAMESPACE,
    ActorCoordinator,
    LedgerActor,
    actor_name,
)
from serve_app.gateway.permits import ledger
from serve_app.gateway.permits.coordinator import Unreachable
from serve_app.gateway.permits.messages import RECOVERY_S, Report
from tests.cluster.conftest import PATIENCE_S, Fleet
from tests.gateway.permits.test_permits import (
    Connect,
    _patience,
    lease_s,
    recovery_s,
    test_a_cancelled_request_leaves_no_unit_taken,
    test_a_line_is_bounded_over_all_and_a_long_track_may_wait_alone,
    test_a_line_is_known_to_an_ingress_without_requests,
    test_a_lost_reply_loses_no_unit,
    test_a_unit_given_back_serves_another_ingress,
    test_an_ingress_that_ends_returns_its_permits_at_once,
    test_an_overdrawn_allowance_refuses_requests_without_music,
    test_an_uncontended_request_waits_for_no_exchange,
    test_limits_hold_over_any_sequence,
    test_music_is_spent_by_all,
    test_nobody_is_refused_while_units_are_idle_elsewhere,
    test_places_are_those_among_all_ingresses,
    test_the_permits_of_a_lost_ingress_return_with_its_lease,
    test_the_turn_of_one_is_awaited_by_the_other,
    test_two_ingresses_accept_no_more_than_the_limit,
    test_without_the_coordinator_limits_are_those_of_each,
)

__all__ = [
    "_patience",
    "lease_s",
    "recovery_s",
    "test_a_cancelled_request_leaves_no_unit_taken",
    "test_a_line_is_bounded_over_all_and_a_long_track_may_wait_alone",
    "test_a_line_is_known_to_an_ingress_without_requests",
    "test_a_lost_reply_loses_no_unit",
    "test_a_unit_given_back_serves_another_ingress",
    "test_an_ingress_that_ends_returns_its_permits_at_once",
    "test_an_overdrawn_allowance_refuses_requests_without_music",
    "test_an_uncontended_request_waits_for_no_exchange",
    "test_limits_hold_over_any_sequence",
    "test_music_is_spent_by_all",
    "test_nobody_is_refused_while_units_are_idle_elsewhere",
    "test_places_are_those_among_all_ingresses",
    "test_the_permits_of_a_lost_ingress_return_with_its_lease",
    "test_the_turn_of_one_is_awaited_by_the_other",
    "test_two_ingresses_accept_no_more_than_the_limit",
    "test_without_the_coordinator_limits_are_those_of_each",
]

pytestmark = pytest.mark.long


class PatientLedgerActor(LedgerActor):
    """The actor with leases of another length."""

    def __init__(self, lease_s: float) -> None:
        vars(ledger)["LEASE_S"] = lease_s  # in the process of the actor
        super().__init__()


@pytest.fixture
def connect(fleet: Fleet, request: pytest.FixtureRequest, lease_s: float) -> Connect:
    """Return a function that connects an ingress replica to an actor of the test."""
    assert fleet.cluster
    ray.remote(PatientLedgerActor).options(
        name=actor_name(request.node.name),
        namespace=NAMESPACE,
        lifetime="detached",
        max_restarts=-1,
        max_concurrency=1000,
        num_cpus=0,
    ).remote(lease_s)
    return lambda: ActorCoordinator(request.node.name, DeploymentConfig())


async def test_an_actor_that_ray_restarted_grants_nothing_until_all_have_reported(
    fleet: Fleet,
) -> None:
    """A new session that reports first is told to wait; the first start of the actor lets it go on."""
    assert fleet.cluster
    coordinator = ActorCoordinator("restarted", DeploymentConfig())
    join = Report("old", 1, True, False, False, (), ())
    assert (await coordinator.exchange(join)).is_open
    actor = ray.get_actor(actor_name("restarted"), namespace=NAMESPACE)
    ray.kill(actor, no_restart=False)
    await _until_unknown(coordinator, replace(join, joins=False))
    assert not (await coordinator.exchange(replace(join, session="new"))).is_open
    await asyncio.sleep(RECOVERY_S)
    again = Report("new", 2, False, False, False, (), ())
    assert (await coordinator.exchange(again)).is_open
    ray.kill(actor)


async def _until_unknown(coordinator: ActorCoordinator, report: Report) -> None:
    """Wait until an actor replies that does not know the session."""
    async with asyncio.timeout(PATIENCE_S):
        is_known = True
        while is_known:
            await asyncio.sleep(0.05)
            with contextlib.suppress(Unreachable):
                is_known = (await coordinator.exchange(report)).is_known
