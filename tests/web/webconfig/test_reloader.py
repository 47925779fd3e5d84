"""How the web configuration follows its files."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, MutableMapping
from pathlib import Path
from typing import Any

import bcrypt
import pytest
import trustme

from exporter.config.problems import ConfigError
from exporter.web.webconfig.loader import WebConfig, read_web_config
from exporter.web.webconfig.reloader import WebConfigReloader
from support.thread_limit import no_more_threads
from support.waiting import wait_until

HASH = bcrypt.hashpw(b"pass", b"$2b$04$" + b"." * 22).decode()  # a fixed salt: test ids contain it
TLS = "tls_server_config: {cert_file: server.crt, key_file: server.key}\n"


def users(*names: str) -> str:
    return "basic_auth_users:\n" + "".join(f"  {name}: {HASH}\n" for name in names)


def write(file: Path, text: str) -> None:
    """Replace the file by a new one, as editors and Kubernetes do."""
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


class Reads:
    """Reads files, and counts how often."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(
        self, path: Path, before_reading: Callable[[Path], None], previous: WebConfig | None
    ) -> WebConfig:
        self.count += 1
        return read_web_config(path, before_reading, previous)


def test_a_file_that_does_not_change_is_not_read_again(file: Path) -> None:
    write(file, TLS + users("alice"))
    reads = Reads()
    config = WebConfigReloader(file, read=reads)

    assert set(newest(config).users) == {b"alice"}
    assert newest(config) is newest(config)
    assert reads.count == 1


def test_new_users_count_at_once(file: Path, logged: list[MutableMapping[str, Any]]) -> None:
    write(file, users("alice"))
    config = WebConfigReloader(file)
    write(file, users("bob"))

    assert set(newest(config).users) == {b"bob"}
    assert [event["event"] for event in logged] == ["web configuration reloaded"]


def test_a_change_in_place_is_seen_too(file: Path) -> None:
    write(file, users("alice"))
    config = WebConfigReloader(file)
    file.write_text(users("alice", "bob"))

    assert set(newest(config).users) == {b"alice", b"bob"}


def test_a_renewed_certificate_counts_for_the_next_connection(file: Path) -> None:
    write(file, TLS)
    config = WebConfigReloader(file)
    before = newest(config).tls
    issue(file.parent, trustme.CA())

    after = newest(config).tls
    assert after is not before
    assert after is newest(config).tls


def test_a_link_that_points_elsewhere_is_a_change(file: Path) -> None:
    for name in ("alice", "bob"):
        write(file.with_name(f"{name}.yml"), users(name))
    file.symlink_to("alice.yml")
    config = WebConfigReloader(file)
    file.unlink()
    file.symlink_to("bob.yml")

    assert set(newest(config).users) == {b"bob"}


@pytest.mark.parametrize("broken", ["basic_auth_users: [", "basic_auth_users: {bob: x}", None])
def test_a_broken_file_keeps_the_old_configuration_and_is_logged_once(
    file: Path,
    logged: list[MutableMapping[str, Any]],
    broken: str | None,
) -> None:
    write(file, users("alice"))
    reads = Reads()
    config = WebConfigReloader(file, read=reads)
    file.unlink() if broken is None else write(file, broken)

    for _ in range(3):
        assert set(newest(config).users) == {b"alice"}
    assert [event["event"] for event in logged] == [
        "web configuration cannot be used, keeping the old one"
    ]
    assert reads.count == 2

    write(file, users("bob"))
    assert set(newest(config).users) == {b"bob"}


def test_a_certificate_without_its_key_waits_for_the_key(file: Path) -> None:
    write(file, TLS)
    config = WebConfigReloader(file)
    before = newest(config).tls
    key = (file.parent / "server.key").read_text()
    issue(file.parent, trustme.CA())
    new_key = (file.parent / "server.key").read_text()
    write(file.parent / "server.key", key)

    assert newest(config).tls is before
    write(file.parent / "server.key", new_key)
    assert newest(config).tls is not before


@pytest.mark.parametrize(
    ("first", "then", "lost"),
    [
        (users("alice"), "", "basic authentication"),
        (TLS, "", "TLS"),
        (TLS + users("alice"), users("alice"), "TLS"),
        (TLS[:-2] + ", client_auth_type: RequireAndVerifyClientCert}", TLS, "client certificates"),
    ],
)
def test_only_an_explicit_reload_removes_a_protection(
    file: Path, logged: list[MutableMapping[str, Any]], first: str, then: str, lost: str
) -> None:
    write(file, first)
    config = WebConfigReloader(file)
    before = newest(config)
    write(file, then)

    assert newest(config) is before
    assert newest(config) is before
    assert [event["protection"] for event in logged] == [lost]
    config.reload()
    assert newest(config).protections == before.protections - {lost}


def test_a_protection_is_added_without_a_reload(file: Path) -> None:
    write(file, "")
    config = WebConfigReloader(file)
    write(file, TLS + users("alice"))

    assert newest(config).protections == {"TLS", "basic authentication"}


def test_a_reload_raises_the_problems_and_keeps_the_old_configuration(file: Path) -> None:
    write(file, users("alice"))
    config = WebConfigReloader(file)
    write(file, "users: {}")

    with pytest.raises(ConfigError, match="users: unknown key"):
        config.reload()
    assert set(newest(config).users) == {b"alice"}


def test_many_requests_at_once_read_a_changed_file_once(file: Path) -> None:
    write(file, users("alice"))
    reads = Reads()
    config = WebConfigReloader(file, read=reads)
    write(file, users("bob"))

    async def request_often() -> list[WebConfig]:
        return await asyncio.gather(*(config.newest() for _ in range(50)))

    assert {name for made in asyncio.run(request_often()) for name in made.users} == {b"bob"}
    assert reads.count == 2


def test_reading_does_not_block_the_event_loop(file: Path) -> None:
    go_on = threading.Event()
    go_on.set()

    def slow(
        path: Path, before_reading: Callable[[Path], None], previous: WebConfig | None
    ) -> WebConfig:
        assert go_on.wait(10)
        return read_web_config(path, before_reading, previous)

    write(file, users("alice"))
    config = WebConfigReloader(file, read=slow)
    write(file, users("bob"))
    go_on.clear()

    async def request() -> WebConfig:
        newest = asyncio.create_task(config.newest())
        await asyncio.sleep(0)
        assert not newest.done()
        go_on.set()  # the loop is free to do this
        return await newest

    assert set(asyncio.run(request()).users) == {b"bob"}


async def request_until_answered(config: WebConfigReloader, answers: threading.Event) -> WebConfig:
    """Check that the old configuration is in force until the file system answers; return the one after that."""
    for _ in range(3):
        assert set((await config.newest()).users) == {b"alice"}
    assert [problem.message for problem in config.problems] == ["its file system does not answer"]
    answers.set()
    wait_until(lambda: config.problems == (), "the answer of the file system")
    return await config.newest()


def test_while_a_file_system_does_not_answer_the_old_configuration_is_in_force(
    file: Path, logged: list[MutableMapping[str, Any]]
) -> None:
    answers = threading.Event()
    answers.set()
    reads = 0

    def read(
        path: Path, before_reading: Callable[[Path], None], previous: WebConfig | None
    ) -> WebConfig:
        nonlocal reads
        reads += 1
        answers.wait()
        return read_web_config(path, before_reading, previous)

    write(file, users("alice"))
    config = WebConfigReloader(file, read=read, read_seconds=0.5)
    answers.clear()
    write(file, users("bob"))
    after = asyncio.run(request_until_answered(config, answers))

    assert set(after.users) == {b"bob"}
    assert reads == 2
    assert config.problems == ()
    assert [event["event"] for event in logged] == [
        "web configuration cannot be read in time, keeping the old one",
        "web configuration reloaded",
    ]


def test_while_a_file_system_does_not_even_answer_a_stat_the_configuration_is_in_force(
    file: Path, logged: list[MutableMapping[str, Any]]
) -> None:
    answers = threading.Event()
    answers.set()

    def stat(path: Path) -> os.stat_result:
        assert answers.wait(10)
        return path.stat()

    write(file, users("alice"))
    config = WebConfigReloader(file, stat=stat, read_seconds=0.5)
    answers.clear()
    asyncio.run(request_until_answered(config, answers))

    assert [event["event"] for event in logged] == [
        "web configuration cannot be read in time, keeping the old one",
        "web configuration can be read again",
    ]


def test_without_threads_an_unchanged_configuration_is_in_force(file: Path) -> None:
    write(file, users("alice"))
    config = WebConfigReloader(file)

    async def request() -> WebConfig:
        with no_more_threads():
            return await config.newest()

    assert set(asyncio.run(request()).users) == {b"alice"}


def test_a_change_while_the_file_is_read_is_not_missed(file: Path) -> None:
    def overtaken(
        path: Path, before_reading: Callable[[Path], None], previous: WebConfig | None
    ) -> WebConfig:
        config = read_web_config(path, before_reading, previous)
        if b"bob" in config.users:
            write(file, users("carol"))
        return config

    write(file, users("alice"))
    config = WebConfigReloader(file, read=overtaken)
    write(file, users("bob"))

    assert set(newest(config).users) == {b"bob"}
    assert set(newest(config).users) == {b"carol"}


def test_a_replaced_file_of_the_same_size_and_time_is_a_change(file: Path) -> None:
    write(file, users("alice"))
    config = WebConfigReloader(file)
    times = file.stat().st_atime_ns, file.stat().st_mtime_ns
    write(file, users("carol"))
    os.utime(file, ns=times)

    assert set(newest(config).users) == {b"carol"}


@pytest.fixture
def half_renewed(file: Path) -> Path:
    """A configuration whose key is not that of its certificate any more, once `halve` is called."""
    write(file, TLS + users("alice"))
    return file


def halve(file: Path) -> None:
    key = (file.parent / "server.key").read_text()
    issue(file.parent, trustme.CA())
    write(file.parent / "server.key", key)


def test_a_certificate_without_its_key_keeps_the_old_one_and_no_other_setting(
    half_renewed: Path, logged: list[MutableMapping[str, Any]]
) -> None:
    config = WebConfigReloader(half_renewed)
    context = config.current.tls
    halve(half_renewed)
    write(half_renewed, TLS + users("bob"))

    assert newest(config).tls is context
    assert set(config.current.users) == {b"bob"}
    assert [event["event"] for event in logged] == [
        "certificate cannot be used, keeping the old one"
    ]
    assert [problem.place for problem in config.problems] == ["tls_server_config.cert_file"]


def test_a_reload_also_keeps_the_old_certificate_until_the_new_one_is_whole(
    half_renewed: Path,
) -> None:
    config = WebConfigReloader(half_renewed)
    context = config.current.tls
    halve(half_renewed)
    config.reload()
    assert config.current.tls is context
    assert config.problems

    issue(half_renewed.parent, trustme.CA())
    assert newest(config).tls is not context
    assert config.problems == ()


def test_other_tls_settings_need_a_usable_certificate(half_renewed: Path) -> None:
    config = WebConfigReloader(half_renewed)
    halve(half_renewed)
    write(half_renewed, TLS.replace("}", ", min_version: TLS13}"))

    with pytest.raises(ConfigError, match=r"server\.key is not the key of"):
        config.reload()


def test_a_start_needs_a_usable_certificate(half_renewed: Path) -> None:
    halve(half_renewed)
    with pytest.raises(ConfigError, match=r"server\.key is not the key of"):
        WebConfigReloader(half_renewed)
