from __future__ import annotations

import pytest

from exporter.config.urls import is_host, normalized_api_url, normalized_proxy_url

LONGEST_LABEL = "a" * 63
LONGEST_NAME = ".".join([LONGEST_LABEL] * 3 + ["a" * 61])


@pytest.mark.parametrize(
    "host",
    [
        "vb365",
        "VB365.Example.com",
        "vb365.example.com.",
        "vb_365.example.com",
        "_vb365",
        "xn--mnchen-3ya.de",
        "3com.example",
        "a.b-c.d1",
        "127.0.0.1",
        "::1",
        "2001:db8::1",
        "::ffff:192.0.2.1",
        "fe80::1%eth0",
        "fe80::1%25Ethernet_0.100",
        "fe80::1%12",
        LONGEST_LABEL,
        LONGEST_NAME,
        f"{LONGEST_NAME}.",
    ],
)
def test_a_name_that_dns_has_or_an_address_is_a_host(host: str) -> None:
    assert is_host(host)


@pytest.mark.parametrize(
    "host",
    [
        "",
        ".",
        "a..b",
        ".a",
        "a..",
        "-a",
        "a-",
        "a.-b",
        "a b",
        "ä",
        "a/b",
        "a%b",
        f"{LONGEST_LABEL}a",
        f"{LONGEST_NAME}a",
        "127.1",
        "1",
        "0x7f.0.0.1",
        "010.0.0.1",
        "256.0.0.1",
        "1.2.3.4.5",
        "vb365.1",
        "127.0.0.1.",
        "[::1]",
        "::g",
        "fe80::1%",
        "fe80::1%25",
        "fe80::1%eth/0",
        "fe80::1%eth0.",
        "fe80::1%eth0..1",
        "fe80::1%a-name-too-long1",
        "vb365%eth0",
    ],
)
def test_a_name_that_no_resolver_accepts_is_not_a_host(host: str) -> None:
    assert not is_host(host)


def test_only_the_zone_of_an_address_keeps_its_upper_case() -> None:
    assert (
        normalized_api_url("HTTPS://[FE80::1%25Eth0]:4443/Api/")
        == "https://[fe80::1%25Eth0]:4443/Api"
    )


@pytest.mark.parametrize(
    "url",
    ["https://a:4443:", "https://a:", "https://a:044430", "https://::1", "https://fe80::1:4443"],
)
def test_a_port_that_the_client_cannot_use_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"from 1 to 65535|host name"):
        normalized_api_url(url)


def test_a_proxy_keeps_its_user_information_and_loses_its_path() -> None:
    assert (
        normalized_proxy_url("http://User:Pa%20ss@Proxy:3128/") == "http://User:Pa%20ss@Proxy:3128"
    )
