"""Public network addresses: images are fetched only from these.

Based on IANA's registries of special-purpose addresses (RFC 6890 and its successors). IPv6 addresses that embed an IPv4
address are always rejected: a translator on the way could route them anywhere.
"""

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address

_IPV4_SPECIAL = [
    ip_network(network)
    for network in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carrier-grade NAT
        "127.0.0.0/8",  # loopback
        "169.254.0.0/16",  # link-local; cloud metadata
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # AMT
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarking
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved; broadcast
        "168.63.129.16/32",  # a cloud's virtual public address for its own platform
    )
]
_IPV6_UNICAST = IPv6Network("2000::/3")
"""Addresses assigned for use on the Internet; outside are loopback, mapped and compatible IPv4, NAT64, link-local,
unique local, and multicast."""
_IPV6_SPECIAL = [
    IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments; Teredo, benchmarking, ORCHID
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4
        "2620:4f:8000::/48",  # AS112
        "3fff::/20",  # documentation
    )
]
_ISATAP = {0x00005EFE, 0x02005EFE}
"""The first half of an interface identifier whose second half is an IPv4 address (RFC 5214, section 6.1)."""


def is_public(address: str | Address) -> bool:
    """Return whether an address is on the public Internet, and doesn't embed an IPv4 address.

    Raises:
        ValueError: The text is not an address.
    """
    parsed = ip_address(address)
    if isinstance(parsed, IPv4Address):
        return not any(parsed in network for network in _IPV4_SPECIAL) and parsed.is_global
    if parsed not in _IPV6_UNICAST or any(parsed in network for network in _IPV6_SPECIAL) or parsed.scope_id:
        return False
    return (int(parsed) >> 32 & 0xFFFFFFFF) not in _ISATAP and parsed.is_global
