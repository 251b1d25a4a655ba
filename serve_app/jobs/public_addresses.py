"""The public internet: addresses that webhooks, uploads and inputs may lead to."""

import ipaddress

# IPv6 networks whose addresses hold an IPv4 address in their last 32 bits.
_EMBEDDING = tuple(
    ipaddress.IPv6Network(network)
    for network in (
        "64:ff9b::/96",  # NAT64 (RFC 6052)
        "::ffff:0:0:0/96",  # translated (RFC 2765)
        "::/96",  # compatible (RFC 4291, deprecated)
    )
)
# All other addresses of IPv6 are of no public host: unique local, site-local (RFC 3879), segments
# (RFC 9602), and those that IANA has not given out.
_PUBLIC_IPV6 = (
    *_EMBEDDING,
    ipaddress.IPv6Network("::ffff:0:0/96"),  # mapped (RFC 4291)
    ipaddress.IPv6Network("2000::/3"),
)
# Addresses that count as public by `ipaddress`, at least in some versions of Python.
_NOT_PUBLIC = tuple(
    ipaddress.ip_network(network)
    for network in (
        "168.63.129.16/32",  # agent of Azure, which every one of its machines reaches
        "192.0.0.0/24",  # protocols (RFC 6890); 192.0.0.192 is a cloud's metadata service
        "192.88.99.0/24",  # relays of 6to4 (RFC 7526, deprecated)
        "3fff::/20",  # documentation (RFC 9637)
    )
)
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def is_public(address: str) -> bool:
    """Test that an address belongs to the public internet, also the IPv4 address within an IPv6 one."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    return all(map(_is_public, (ip, *_embedded(ip))))


def _is_public(ip: _Address) -> bool:
    if isinstance(ip, ipaddress.IPv6Address) and not any(ip in one for one in _PUBLIC_IPV6):
        return False
    return ip.is_global and not ip.is_multicast and not any(ip in one for one in _NOT_PUBLIC)


def _embedded(ip: _Address) -> list[ipaddress.IPv4Address]:
    """List the IPv4 addresses that an IPv6 address stands for.

    Mapped, compatible and translated ones, 6to4, Teredo, ISATAP, and NAT64.
    """
    if isinstance(ip, ipaddress.IPv4Address):
        return []
    found = [ip.ipv4_mapped, ip.sixtofour, *(ip.teredo or ())]
    if any(ip in network for network in _EMBEDDING) or _is_isatap(ip):
        found.append(ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF))
    return [one for one in found if one is not None]


def _is_isatap(ip: ipaddress.IPv6Address) -> bool:
    """Test for an interface identifier of RFC 5214, which ends with an IPv4 address."""
    return int(ip) >> 32 & 0xFCFF_FFFF == 0x0000_5EFE
