"""Connections that nobody uses for a while, at the edge and at Serve's proxy."""

import pytest

from tests.service.conftest import Unused


@pytest.mark.long
def test_an_idle_connection_outlives_those_of_load_balancers(unused: list[Unused]) -> None:
    assert [one.status() for one in unused] == [200, 200]
