"""Bounds on the messages to one host."""

import pytest

from serve_app.jobs.destinations import Destinations, host_of


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://Example.org/a/b?c=d", "example.org"),
        ("http://me:secret@example.org:8080", "example.org:8080"),
        ("http://[::1]:81/a@b", "[::1]:81"),
        ("https://example.org.", "example.org"),
        ("https://example.org:443/a", "example.org"),
        ("https://example.org:00443/a", "example.org"),
        ("https://example.org:/a", "example.org"),
        ("https://example.org?a=/b", "example.org"),
        ("http://EXAMPLE.org:443/a", "example.org:443"),
        ("http://[0:0::0001]:80/", "[::1]"),
        ("http://[::ffff:127.0.0.1]/", "127.0.0.1"),
        ("http://2130706433:80/", "127.0.0.1"),
        ("http://127.1:8080/", "127.0.0.1:8080"),
        ("http://[v1.a:b]/", "v1.a:b"),
    ],
)
def test_a_host_is_name_and_port(url: str, host: str) -> None:
    assert host_of(url) == host


def test_a_slow_host_gets_one_message_at_a_time_until_it_is_quick_again() -> None:
    destinations = Destinations()
    assert destinations.bounds([]) == {}
    assert destinations.bounds(["a", "a", "b"]) == {"a": 2, "b": 3}
    destinations.answered("a", 15.0)
    assert destinations.bounds([]) == {"a": 1}
    assert destinations.bounds(["a", "a", "b"]) == {"a": 0, "b": 3}
    destinations.answered("a", 0.1)
    assert destinations.bounds(["a"]) == {"a": 3}


def test_the_latest_slow_hosts_are_remembered() -> None:
    destinations = Destinations()
    for number in range(100):
        destinations.answered(f"host-{number}", 15.0)
    bounds = destinations.bounds([])
    assert len(bounds) == 64
    assert "host-99" in bounds
