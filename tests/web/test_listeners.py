from __future__ import annotations

import errno
import socket
from contextlib import ExitStack, closing

import pytest

from exporter.web.listeners import (
    Address,
    WebServerError,
    address_of,
    bind_listeners,
)
from support.processes import free_port


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        (":10365", "", 10365),
        ("127.0.0.1:0", "127.0.0.1", 0),
        ("[::1]:9999", "::1", 9999),
        ("[fe80::1%eth0]:9999", "fe80::1%eth0", 9999),
        ("localhost:1", "localhost", 1),
        ("exporter.example.com:80", "exporter.example.com", 80),
        ("0.0.0.0:65535", "0.0.0.0", 65535),  # noqa: S104 - parsed, not listened on
    ],
)
def test_an_address_is_host_and_port_and_prints_as_it_is_written(
    text: str, host: str, port: int
) -> None:
    address = Address.parse(text)

    assert address == (host, port)
    assert str(address) == text


@pytest.mark.parametrize(
    "text",
    ["", "10365", ":", "localhost", "localhost:", ":x", ":-1", "::1:99", "[::1]", "[::1:9", "a b:1",
     "http://a:1", "[a]:1", "[]:1", "a:b:1", ":٣", "a/b:1", "unix:/run/x", "localhost:123456"],
)  # fmt: skip
def test_another_form_of_address_is_rejected(text: str) -> None:
    with pytest.raises(ValueError, match=r"^must be an address such as :10365, "):
        Address.parse(text)


def test_a_port_is_at_most_65535() -> None:
    with pytest.raises(ValueError, match=r"^must have a port from 0 to 65535$"):
        Address.parse(":65536")


def test_a_taken_port_is_an_error_that_names_the_address() -> None:
    with closing(bind_listeners([Address("127.0.0.1", 0)])[0]) as taken:
        address = address_of(taken)
        with pytest.raises(WebServerError, match="in use") as caught:
            bind_listeners([address])
    assert str(caught.value) == (
        f"cannot listen on {address}: Address already in use; --web.listen-address sets another address"
    )


def test_all_addresses_are_bound_or_none() -> None:
    with closing(bind_listeners([Address("127.0.0.1", 0)])[0]) as taken:
        free = Address("127.0.0.1", free_port())
        with pytest.raises(WebServerError):
            bind_listeners([free, address_of(taken)])
        bind_listeners([free])[0].close()


@pytest.mark.parametrize("host", ["a..b", "x" * 300, "nobody.invalid"])
def test_a_name_that_cannot_be_resolved_is_an_error_that_names_it(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    look_up = socket.getaddrinfo

    def offline(name: str, *args: int, **options: int) -> object:
        if name.endswith(".invalid"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return look_up(name, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", offline)
    with pytest.raises(WebServerError, match=host):
        bind_listeners([Address(host, 0)])


def test_a_name_is_listened_on_by_ipv4_if_it_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    tcp = (socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
    both = [
        (socket.AF_INET6, *tcp, ("::1", 0, 0, 0)),
        (socket.AF_INET, *tcp, ("127.0.0.1", 0)),
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_options: both)
    with closing(bind_listeners([Address("both.example", 0)])[0]) as listener:
        assert address_of(listener).host == "127.0.0.1"


def reachable(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=5).close()
    except OSError:
        return False
    return True


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
@pytest.mark.parametrize("text", [":0", "[::]:0"])
def test_an_empty_host_is_all_interfaces_by_ipv6_and_ipv4(text: str) -> None:
    with closing(bind_listeners([Address.parse(text)])[0]) as listener:
        port = address_of(listener).port
        assert reachable("127.0.0.1", port)
        assert reachable("::1", port)


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
def test_ipv6_alone_and_ipv4_alone_are_possible() -> None:
    with ExitStack() as stack:
        six, four = (
            address_of(stack.enter_context(closing(listener)))
            for listener in bind_listeners([Address.parse("[::1]:0"), Address.parse("0.0.0.0:0")])
        )
        assert reachable("::1", six.port)
        assert not reachable("127.0.0.1", six.port)
        assert reachable("127.0.0.1", four.port)
        assert not reachable("::1", four.port)


@pytest.mark.parametrize("code", [errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL])
def test_an_empty_host_is_ipv4_where_there_is_no_ipv6(
    code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    class NoIpv6(socket.socket):
        def bind(self, address: object) -> None:
            if self.family == socket.AF_INET6:
                raise OSError(code, "no IPv6")
            super().bind(address)  # type: ignore[arg-type] # typeshed's alias is private

    monkeypatch.setattr(socket, "socket", NoIpv6)
    with closing(bind_listeners([Address("", 0)])[0]) as listener:
        assert address_of(listener).host == "0.0.0.0"  # noqa: S104 - compares
        assert reachable("127.0.0.1", address_of(listener).port)


def test_many_clients_of_a_listener_can_wait_to_be_accepted() -> None:
    with closing(bind_listeners([Address("127.0.0.1", 0)])[0]) as listener, ExitStack() as stack:
        for _ in range(100):  # more than the usual 5, and none is accepted
            client = socket.create_connection(address_of(listener), timeout=5)
            stack.enter_context(closing(client))
