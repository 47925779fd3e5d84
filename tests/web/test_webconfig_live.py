"""How the web configuration in force follows its files."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bcrypt
import pytest
import trustme

from exporter.config.problems import ConfigError
from exporter.web.webconfig import reloader as live
from exporter.web.webconfig.loader import LoadResult, WebConfig, read_web_config
from exporter.web.webconfig.reloader import WebConfigReloader

if TYPE_CHECKING:
    from collections.abc import MutableMapping

HASH = bcrypt.hashpw(b"pass", bcrypt.gensalt(4)).decode()
TLS = "tls_server_config: {cert_file: server.crt, key_file: server.key}\n"


def users(*names: str) -> str:
    return "basic_auth_users:\n" + "".join(f"  {name}: {HASH}\n" for name in names)


def write(file: Path, text: str) -> None:
    """Put a new file in the place of the old one, as editors and Kubernetes do."""
    new = file.with_suffix(".new")
    new.write_text(text)
    new.replace(file)


def issue(directory: Path, authority: trustme.CA) -> None:
    leaf = authority.issue_cert("127.0.0.1")
    write(directory / "server.crt", leaf.cert_chain_pems[0].bytes().decode())
    write(directory / "server.key", leaf.private_key_pem.bytes().decode())


def newest(config: WebConfigReloader) -> WebConfig:
    return asyncio.run(config.newest())


@pytest.fixture
def file(tmp_path: Path) -> Path:
    issue(tmp_path, trustme.CA())
    return tmp_path / "web.yml"


@pytest.fixture
def readings(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Each time the file is read, once more its path."""
    read: list[Path] = []

    def counting(path: Path) -> LoadResult:
        read.append(path)
        return read_web_config(path)

    monkeypatch.setattr(live, "read_web_config", counting)
    return read


def test_a_file_that_does_not_change_is_not_read_again(file: Path, readings: list[Path]) -> None:
    write(file, TLS + users("alice"))
    config = WebConfigReloader(file)

    assert {b"alice"} == set(newest(config).users)
    assert newest(config) is newest(config)
    assert [file] == readings


def test_new_users_count_at_once(file: Path, logged: list[MutableMapping[str, Any]]) -> None:
    write(file, users("alice"))
    config = WebConfigReloader(file)
    write(file, users("bob"))

    assert {b"bob"} == set(newest(config).users)
    assert [event["event"] for event in logged] == ["web configuration read again"]


def test_a_change_in_place_is_seen_too(file: Path) -> None:
    write(file, users("alice"))
    config = WebConfigReloader(file)
    file.write_text(users("alice", "bob"))

    assert {b"alice", b"bob"} == set(newest(config).users)


def test_a_renewed_certificate_counts_for_the_next_connection(file: Path) -> None:
    write(file, TLS)
    config = WebConfigReloader(file)
    before = newest(config).tls
    issue(file.parent, trustme.CA())

    after = newest(config).tls
    assert before is not after
    assert after is newest(config).tls


def test_a_link_that_points_elsewhere_is_a_change(file: Path) -> None:
    for name in ("alice", "bob"):
        write(file.with_name(f"{name}.yml"), users(name))
    file.symlink_to("alice.yml")
    config = WebConfigReloader(file)
    file.unlink()
    file.symlink_to("bob.yml")

    assert {b"bob"} == set(newest(config).users)


@pytest.mark.parametrize("broken", ["basic_auth_users: [", "basic_auth_users: {bob: x}", None])
def test_a_broken_file_leaves_the_old_configuration_in_force_and_is_logged_once(
    file: Path,
    logged: list[MutableMapping[str, Any]],
    readings: list[Path],
    broken: str | None,
) -> None:
    write(file, users("alice"))
    config = WebConfigReloader(file)
    file.unlink() if broken is None else write(file, broken)

    for _ in range(3):
        assert {b"alice"} == set(newest(config).users)
    assert [event["event"] for event in logged] == [
        "web configuration cannot be used, keeping the old one"
    ]
    assert len(readings) == 2

    write(file, users("bob"))
    assert {b"bob"} == set(newest(config).users)


def test_a_certificate_without_its_key_waits_for_the_key(file: Path) -> None:
    write(file, TLS)
    config = WebConfigReloader(file)
    before = newest(config).tls
    key = (file.parent / "server.key").read_text()
    issue(file.parent, trustme.CA())
    new_key = (file.parent / "server.key").read_text()
    write(file.parent / "server.key", key)

    assert before is newest(config).tls
    write(file.parent / "server.key", new_key)
    assert before is not newest(config).tls


@pytest.mark.parametrize(
    ("first", "then", "lost"),
    [
        (users("alice"), "", "basic authentication"),
        (TLS, "", "TLS"),
        (TLS + users("alice"), users("alice"), "TLS"),
        (TLS[:-2] + ", client_auth_type: RequireAndVerifyClientCert}", TLS, "client certificates"),
    ],
)
def test_only_a_reload_takes_a_protection_away(
    file: Path, logged: list[MutableMapping[str, Any]], first: str, then: str, lost: str
) -> None:
    write(file, first)
    config = WebConfigReloader(file)
    before = newest(config)
    write(file, then)

    assert before is newest(config)
    assert before is newest(config)
    assert [lost] == [event["protection"] for event in logged]
    config.reload()
    assert before.protections - {*lost.split(", ")} == newest(config).protections


def test_a_protection_is_added_without_a_reload(file: Path) -> None:
    write(file, "")
    config = WebConfigReloader(file)
    write(file, TLS + users("alice"))

    assert {"TLS", "basic authentication"} == newest(config).protections


def test_a_reload_tells_what_is_wrong_and_leaves_the_old_configuration_in_force(file: Path) -> None:
    write(file, users("alice"))
    config = WebConfigReloader(file)
    write(file, "users: {}")

    with pytest.raises(ConfigError, match="users: unknown key"):
        config.reload()
    assert {b"alice"} == set(newest(config).users)


def test_many_requests_at_once_read_a_changed_file_once(file: Path, readings: list[Path]) -> None:
    write(file, users("alice"))
    config = WebConfigReloader(file)
    write(file, users("bob"))

    async def ask_often() -> list[WebConfig]:
        return await asyncio.gather(*(config.newest() for _ in range(50)))

    assert {b"bob"} == {name for made in asyncio.run(ask_often()) for name in made.users}
    assert len(readings) == 2


def test_reading_does_not_hold_up_the_event_loop(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(file, users("alice"))
    config = WebConfigReloader(file)
    write(file, users("bob"))
    go_on = threading.Event()

    def slow(path: Path) -> LoadResult:
        assert go_on.wait(10)
        return read_web_config(path)

    monkeypatch.setattr(live, "read_web_config", slow)

    async def ask() -> WebConfig:
        asking = asyncio.create_task(config.newest())
        await asyncio.sleep(0)
        assert not asking.done()
        go_on.set()  # the loop is free to do this
        return await asking

    assert {b"bob"} == set(asyncio.run(ask()).users)


def test_a_change_while_the_file_is_read_is_not_missed(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(file, users("alice"))
    config = WebConfigReloader(file)
    write(file, users("bob"))

    def overtaken(path: Path) -> LoadResult:
        reading = read_web_config(path)
        if b"bob" in (reading.config or WebConfig()).users:
            write(file, users("carol"))
        return reading

    monkeypatch.setattr(live, "read_web_config", overtaken)

    assert {b"bob"} == set(newest(config).users)
    assert {b"carol"} == set(newest(config).users)


def test_a_file_of_the_same_size_and_time_is_another_one_by_its_number(file: Path) -> None:
    write(file, users("alice"))
    config = WebConfigReloader(file)
    times = file.stat().st_atime_ns, file.stat().st_mtime_ns
    write(file, users("carol"))
    os.utime(file, ns=times)

    assert {b"carol"} == set(newest(config).users)
