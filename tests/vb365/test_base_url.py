from __future__ import annotations

import pytest

from exporter.vb365.base_url import BaseUrl, host_and_port

BASE_URL = BaseUrl("https://hq.example.com:4443")
BEHIND_PROXY = BaseUrl("https://hq.example.com/veeam/")


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("https://hq.example.com:4443", "/v6/x?a=1&b=%2B"),
        ("https://hq.example.com:4443/", "/v6/x?a=1&b=%2B"),
        ("https://hq.example.com/veeam/", "/veeam/v6/x?a=1&b=%2B"),
        ("https://hq.example.com/X/veeamX//", "/X/veeamX/v6/x?a=1&b=%2B"),
    ],
)
def test_targets_are_below_the_configured_url(url: str, target: str) -> None:
    base_url = BaseUrl(url)
    assert base_url.target("v6/x", {"a": 1, "b": "+"}) == target
    assert base_url.target("v6/x") == target.partition("?")[0]


@pytest.mark.parametrize(
    ("base_url", "href", "target"),
    [
        (
            BASE_URL,
            "/v6/restoresessions?offset=30&limit=30",
            "/v6/restoresessions?offset=30&limit=30",
        ),
        (BASE_URL, "v6/restoresessions/x", "/v6/restoresessions/x"),
        (BASE_URL, "https://hq.example.com:4443/v6/x?y=1", "/v6/x?y=1"),
        (BASE_URL, "https://HQ.example.com:4443/v6/x", "/v6/x"),
        (BASE_URL, "https://hq.example.com:4443", "/"),
        (BASE_URL, "/v6/x?a=1#part", "/v6/x?a=1"),
        (BASE_URL, "//hq.example.com:4443/v6/x", "/v6/x"),
        (BASE_URL, "/" + "x" * 8191, "/" + "x" * 8191),
        (BASE_URL, "https://hq.example.com:4443?y=1", "/?y=1"),
        (BEHIND_PROXY, "/v6/x", "/veeam/v6/x"),
        (BEHIND_PROXY, "v6/x", "/veeam/v6/x"),
        (BEHIND_PROXY, "/veeam-archive/x", "/veeam/veeam-archive/x"),
        (BEHIND_PROXY, "/Veeam/v6/x", "/Veeam/v6/x"),
        (BEHIND_PROXY, "https://hq.example.com:443/veeam/v6/x", "/veeam/v6/x"),
    ],
)
def test_a_link_on_the_same_server_is_taken(base_url: BaseUrl, href: str, target: str) -> None:
    assert base_url.resolve_link(href, operation="list") == target


@pytest.mark.parametrize(
    ("base_url", "href", "target"),
    [
        (BASE_URL, "https://internal.example.com/v6/x?a=1", "/v6/x?a=1"),
        (BASE_URL, "https://hq.example.com/v6/x", "/v6/x"),
        (BASE_URL, "https://hq.example.com:9419/v6/x", "/v6/x"),
        (BASE_URL, "https://hq.example.com:99999/v6/x", "/v6/x"),
        (BASE_URL, "http://10.0.0.7:9191/v6/x", "/v6/x"),
        (BASE_URL, "//internal.example.com/v6/x", "/v6/x"),
        (BASE_URL, "https:/v6/x", "/v6/x"),
        (BASE_URL, "https://user:secret@internal.example.com/v6/x", "/v6/x"),
        (BASE_URL, "https://hq.example.com:4443.evil.example.com/", "/"),
        (BASE_URL, "https://internal.example.com//evil.example.com/x", "//evil.example.com/x"),
        (BEHIND_PROXY, "https://internal.example.com:4443/v6/x?a=1", "/veeam/v6/x?a=1"),
        (BEHIND_PROXY, "https://internal.example.com/veeam/v6/x", "/veeam/v6/x"),
    ],
)
def test_path_and_query_of_a_link_under_another_name_are_taken(
    base_url: BaseUrl, href: str, target: str
) -> None:
    assert base_url.resolve_link(href, operation="list") == target


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://hq.example.com:4443/veeam", "hq.example.com:4443"),
        ("https://hq.example.com/veeam", "hq.example.com:443"),
        ("https://hq.example.com:", "hq.example.com:443"),
        ("https://X.example.X", "X.example.X:443"),
        ("https://[::1]", "[::1]:443"),
    ],
)
def test_a_url_without_a_port_has_that_of_https(url: str, expected: str) -> None:
    assert host_and_port(url) == expected
