"""Whatever host the check of the configuration accepts, the client can look up and verify."""

from __future__ import annotations

import socket
import ssl
import threading
from contextlib import suppress
from pathlib import Path

import pytest
import requests
from hypothesis import assume, example, given
from hypothesis import strategies as st
from urllib3.util import parse_url
from vb365.support import Recorder, failure

from exporter.config import parse_config
from exporter.config.urls import normalized_api_url
from exporter.vb365.http.transport import Transport

HOSTS = st.one_of(
    st.text("abcXYZ019._-%:[]~", min_size=1, max_size=80),
    st.lists(st.text("ab01_-", min_size=1, max_size=66), min_size=1, max_size=8).map(".".join),
    st.ip_addresses(v=6).map(lambda address: f"[{address}]"),
    st.text("aZ09._~-%:/", max_size=9).map(lambda zone: f"[fe80::1%25{zone}]"),
)
PORTS = st.sampled_from(["", ":4443", ":04443", ":004443", ":65535"])


def accepted(url: str) -> str:
    """The root of the API at a URL; empty if the check refuses it."""
    try:
        return normalized_api_url(url)
    except ValueError:
        return ""


@given(HOSTS, PORTS)
@example("a_b.example.com.", ":4443")
@example("[fe80::1%25Eth0]", ":4443")
@example("[fe80::1%eth0]", "")
@example(".".join(["a" * 63] * 3 + ["a" * 61]) + ".", "")
def test_an_accepted_host_can_be_looked_up_and_verified(host: str, port: str) -> None:
    root = accepted(f"https://{host}{port}")
    assume(root)

    url = requests.Request("GET", f"{root}/v8/RestoreSessions").prepare().url
    sent = (parse_url(url or "").host or "").strip("[]")
    with suppress(socket.gaierror):  # encoded, but no address: names are not looked up here
        socket.getaddrinfo(sent, 4443, flags=socket.AI_NUMERICHOST)
    name = sent.partition("%")[0].rstrip(".")  # as urllib3 passes it
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname=name)


def test_the_zone_of_a_link_local_address_reaches_the_resolver() -> None:
    _, interface = socket.if_nameindex()[0]
    try:
        socket.getaddrinfo(f"fe80::1%{interface}", 9)
    except socket.gaierror:
        pytest.skip("there is no IPv6 here")
    text = (
        f"servers: [{{url: 'https://[fe80::1%25{interface}]:9', timeout: 1s, auth: {{token: t}}}}]"
    )
    server = parse_config(text, directory=Path()).servers[0]

    transport = Transport(server, observer=Recorder(), stop=threading.Event())
    assert failure(transport).message.startswith(f"the connection to {server.url[8:]} failed: ")
