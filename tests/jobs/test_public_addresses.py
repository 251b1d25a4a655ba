"""Addresses of the public internet, also those within others."""

import pytest

from serve_app.jobs.public_addresses import is_public

PRIVATE = [
    "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0",
    "224.0.0.1", "::1", "::", "fe80::1%eth0", "fc00::1", "ff02::1", "::ffff:10.0.0.1",
    "64:ff9b::a00:1", "2002:a00:1::1", "2001:db8::1", "64:ff9b:1::7f00:1", "64:ff9b:1:7f00:0:100::",
    "::127.0.0.1", "::ffff:0:127.0.0.1", "2606:4700::5efe:10.0.0.1", "2606:4700::200:5efe:10.0.0.1",
    "2001:0:a00:1::1", "168.63.129.16", "::ffff:168.63.129.16", "64:ff9b::168.63.129.16",
    "fec0::1", "feff::1", "5f00::1", "4000::1", "3fff::1", "192.0.0.192", "192.0.0.8", "192.88.99.1",
    "::ffff:192.0.0.192", "64:ff9b::c000:c0", "2002:c000:c0::1", "fec0::5efe:8.8.8.8",
]  # fmt: skip


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "93.184.216.34",
        "2606:4700::1111",
        "::ffff:8.8.8.8",
        "64:ff9b::8.8.8.8",
        "::ffff:0:8.8.8.8",
        "2001:4860:4860::8888",
        "192.0.1.1",
        "192.89.1.1",
    ],
)
def test_public_addresses_are(address: str) -> None:
    assert is_public(address)
