"""Which addresses images may be fetched from."""

from ipaddress import ip_network

import pytest

from progimage.auth.rate_limits import network_of
from progimage.fetching.addresses import is_public

REFUSED = [
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.127.255.254", "127.0.0.1", "127.1.2.3", "169.254.169.254",
    "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.0.170", "192.0.2.1", "192.31.196.1", "192.52.193.1",
    "192.88.99.1", "192.168.1.1", "192.175.48.1", "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1",
    "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255", "168.63.129.16",
    "::", "::1", "fe80::1", "fe80::1%1", "fc00::1", "fd00:ec2::254", "fec0::1", "ff02::1", "2001:db8::1", "3fff::1",
    "100::1", "5f00::1",
    # with an IPv4 address in them, a public one, too
    "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::127.0.0.1", "::8.8.8.8", "::ffff:0:127.0.0.1",
    "2002:7f00:1::", "2002:808:808::1", "64:ff9b::7f00:1", "64:ff9b::8.8.8.8", "64:ff9b:1::a00:1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001::1", "2001:20::1",
    "2a00:1450::5efe:127.0.0.1", "2a00:1450::200:5efe:10.0.0.1", "fe80::5efe:10.0.0.1",
]  # fmt: skip
ALLOWED = [
    "8.8.8.8",
    "1.1.1.1",
    "93.184.216.34",
    "172.32.0.1",
    "100.128.0.1",
    "2606:4700:4700::1111",
    "2a00:1450:4001::8",
]


@pytest.mark.parametrize("address", REFUSED)
def test_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ALLOWED)
def test_public(address: str) -> None:
    assert is_public(address)


def test_a_subscriber_of_ipv6_is_a_network() -> None:
    assert network_of("2001:db8:1:2:3:4:5:6") == network_of("2001:db8:1:2::1") == "2001:db8:1:2::"
    assert network_of("::ffff:1.2.3.4") == network_of("1.2.3.4") == "1.2.3.4" and network_of("") == ""


# The first and the last address of each block of IANA's registries of special-purpose addresses.
BLOCKS = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.31.196.0/24",
    "192.52.193.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "192.175.48.0/24",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "2001::/23",
    "2001:db8::/32",
    "2002::/16",
    "2620:4f:8000::/48",
    "3fff::/20",
    "fc00::/7",
    "fe80::/10",
    "ff00::/8",
    "64:ff9b::/96",
    "64:ff9b:1::/48",
    "100::/64",
    "5f00::/16",
    "::/96",
    "::ffff:0:0/96",
]


@pytest.mark.parametrize("block", BLOCKS)
def test_a_special_block_is_refused_from_end_to_end(block: str) -> None:
    network = ip_network(block)
    for address in (network[0], network[1], network[-1]):
        assert not is_public(address) and not is_public(str(address))


@pytest.mark.parametrize(
    "address",
    [
        "1.0.0.0", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.0",
        "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0", "192.0.1.0", "192.0.3.0", "192.167.255.255",
        "192.169.0.0", "198.17.255.255", "198.20.0.0", "198.51.99.255", "198.51.101.0", "203.0.112.255", "203.0.114.0",
        "223.255.255.255", "168.63.129.15", "168.63.129.17", "2001:200::", "2001:db7:ffff::1", "2001:db9::", "2003::",
        "2620:4f:7fff::1", "2620:4f:8001::1", "3ffe::1", "2000::1",
    ],
)  # fmt: skip
def test_the_addresses_around_them_are_public(address: str) -> None:
    assert is_public(address)


def test_an_interface_that_has_an_ipv4_address_in_it_is_refused_wherever_it_is() -> None:
    """RFC 5214, section 6.1: 0000:5efe, or 0200:5efe where the address is thought to be unique."""
    for prefix in ("2a00:1450:4001:8:", "2600:1:2:3:"):
        assert not is_public(f"{prefix}0:5efe:808:808") and not is_public(f"{prefix}200:5efe:808:808")
        assert is_public(f"{prefix}100:5efe:808:808") and is_public(f"{prefix}0:5eff:808:808")
        assert is_public(f"{prefix}808:808:0:5efe")


def test_what_is_no_address_is_no_answer() -> None:
    for text in ("", "localhost", "1.2.3", "1.2.3.4.5", "01.2.3.4", "0x7f.1", "::1::"):
        with pytest.raises(ValueError):
            is_public(text)
