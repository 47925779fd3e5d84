from __future__ import annotations

import copy
import os
import pickle
import traceback
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.config import (
    Config,
    ConfigError,
    SecretSource,
    SecretUnavailableError,
    SecretUrl,
    load_config,
    masked_yaml,
    parse_config,
)

MARKER = "hunter2-MARKER"


@pytest.mark.parametrize(
    ("content", "secret"),
    [
        (b"secret", "secret"),
        (b"secret\n", "secret"),
        (b"secret\r\n", "secret"),
        (b"secret\r", "secret"),
        (b" secret ", " secret "),
        (b"\xef\xbb\xbfsecret\n", "secret"),
        ("pässword €\n".encode(), "pässword €"),
    ],
)
def test_a_secret_file_is_its_content_without_one_line_break(
    tmp_path: Path, content: bytes, secret: str
) -> None:
    (tmp_path / "pw").write_bytes(content)

    assert SecretSource(file=tmp_path / "pw").read() == secret


def sources(tmp_path: Path, text: str, *, bearer: bool) -> tuple[SecretSource, ...]:
    """The same secret in a file, in a variable and in the configuration itself."""
    file = tmp_path / "secret"
    file.write_bytes(text.encode())
    return (
        SecretSource(file=file, bearer=bearer),
        SecretSource(env="PW", environ={"PW": text}, bearer=bearer),
        SecretSource(value=text, bearer=bearer),
    )


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("bearer", [False, True])
def test_one_line_break_at_the_end_is_dropped_wherever_a_secret_comes_from(
    tmp_path: Path, end: str, *, bearer: bool
) -> None:
    for source in sources(tmp_path, f"secret{end}", bearer=bearer):
        assert source.read() == "secret"


@pytest.mark.parametrize(
    "text",
    [
        f"{MARKER}\n\n",
        f"{MARKER}\n\r",
        f"\n{MARKER}",
        f"{MARKER}\n{MARKER}",
        f"{MARKER}\0",
        f"{MARKER}\t",
        f"{MARKER}\x1b",
        f"{MARKER}\x7f",
        f"{MARKER}\x85",
        f"{MARKER}\u2028",
    ],
)
@pytest.mark.parametrize("bearer", [False, True])
def test_a_control_character_is_an_error_wherever_a_secret_comes_from(
    tmp_path: Path, text: str, *, bearer: bool
) -> None:
    for source in sources(tmp_path, text, bearer=bearer):
        with pytest.raises(SecretUnavailableError) as caught:
            source.read()
        assert MARKER not in str(caught.value)


def test_text_of_several_lines_keeps_its_line_breaks_but_no_other_control_character() -> None:
    assert SecretSource(value="a\r\nb\n", lines=True).read() == "a\r\nb"
    with pytest.raises(SecretUnavailableError, match=r"U\+0000 \(NUL\)"):
        SecretSource(value="a\n\0", lines=True).read()


def test_a_secret_file_is_read_again_each_time(tmp_path: Path) -> None:
    file = tmp_path / "pw"
    file.write_text("old")
    source = SecretSource(file=file)
    assert source.read() == "old"

    file.write_text("new")
    assert source.read() == "new"

    file.unlink()
    with pytest.raises(SecretUnavailableError, match="pw cannot be read: No such file"):
        source.read()


def test_a_variable_is_read_again_each_time() -> None:
    environ = {"PW": "old"}
    source = SecretSource(env="PW", environ=environ)
    assert source.read() == "old"

    environ["PW"] = "new"
    assert source.read() == "new"

    del environ["PW"]
    with pytest.raises(
        SecretUnavailableError, match=r"^the environment variable named here is not"
    ):
        source.read()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_a_pipe_is_refused_instead_of_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(SecretUnavailableError, match="pipe cannot be read: not a regular file"):
        SecretSource(file=tmp_path / "pipe").read()


def test_an_invalid_file_name_is_a_problem_like_any_other() -> None:
    with pytest.raises(SecretUnavailableError, match="cannot be read: invalid file name"):
        SecretSource(file=Path("a\0b")).read()


def test_the_error_for_a_secret_that_is_not_text_does_not_carry_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "pw").write_bytes(MARKER.encode() + b"\xff")

    with pytest.raises(SecretUnavailableError) as caught:
        SecretSource(file=tmp_path / "pw").read()

    assert str(caught.value) == f"{tmp_path / 'pw'} is not UTF-8 text"
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        (SecretSource(value=MARKER), "<secret>"),
        (SecretSource(file=Path("pw")), "pw"),
        (SecretSource(env="PW", environ={"PW": MARKER}), "PW"),
    ],
)
def test_a_source_shows_where_the_secret_comes_from_and_prints_as_a_mask(
    source: SecretSource, shown: str
) -> None:
    assert source.shown == shown
    assert {str(source), repr(source), f"{source}", f"{source!r:>8}"} == {"<secret>"}


def test_sources_are_equal_when_the_secret_comes_from_the_same_place() -> None:
    assert SecretSource(value="a") == SecretSource(value="a")
    assert SecretSource(value="a") != SecretSource(value="b")
    assert SecretSource(value="a") != SecretSource(value="a", bearer=True)
    assert SecretSource(file=Path("a")) != SecretSource(env="a")
    text: object = "a"
    assert SecretSource(value="a") != text
    assert len({SecretSource(file=Path("a")), SecretSource(file=Path("a"))}) == 1


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://proxy:3128", "http://proxy:3128"),
        (f"http://user:{MARKER}@proxy:3128", "http://<secret>@proxy:3128"),
        (f"http://{MARKER}@proxy", "http://<secret>@proxy"),
        (f"http://a@{MARKER}@[::1]:1", "http://<secret>@[::1]:1"),
        (f"http://[{MARKER}", "<secret>"),
    ],
)
def test_a_proxy_shows_its_host_and_reveals_the_rest_on_request(url: str, shown: str) -> None:
    proxy = SecretUrl(url)

    assert {str(proxy), repr(proxy)} == {shown}
    assert proxy.reveal() == url
    assert proxy == SecretUrl(url)
    assert hash(proxy) == hash(SecretUrl(url))
    text: object = url
    assert proxy != text


def configured(tmp_path: Path) -> Config:
    (tmp_path / "pw").write_text(MARKER)
    return parse_config(
        f"""
servers:
  - url: https://a
    auth: {{username: u, password: {MARKER}}}
    proxy_url: http://user:{MARKER}@proxy:3128
  - {{url: https://b, auth: {{username: u, password_file: pw}}}}
  - {{url: https://c, auth: {{username: u, password_env: PW}}}}
  - {{url: https://d, auth: {{token: {MARKER}}}}}
""",
        directory=tmp_path,
        environ={"PW": MARKER},
    )


def test_no_way_to_print_the_configuration_shows_a_secret(tmp_path: Path) -> None:
    config = configured(tmp_path)

    for part in (config, *config.servers, *(server.auth for server in config.servers)):
        shown = (
            repr(part),
            str(part),
            f"{part!r}",
            repr(part.model_dump()),
            repr(part.model_dump(mode="json")),
            part.model_dump_json(),
            repr(dict(part)),
            repr(list(part.__repr_args__())),
            repr(vars(part)),
        )
        for text in shown:
            assert MARKER not in text
    assert MARKER not in masked_yaml(config)
    assert masked_yaml(config).count(": <secret>") == 2
    assert "http://<secret>@proxy:3128" in masked_yaml(config)
    assert {server.auth.secret.read() for server in config.servers} == {MARKER}


def test_a_copied_configuration_keeps_its_secrets(tmp_path: Path) -> None:
    config = configured(tmp_path)

    for copied in (copy.deepcopy(config), pickle.loads(pickle.dumps(config))):  # noqa: S301 - our own
        assert copied == config
        assert copied.servers[0].auth.secret.read() == MARKER


@pytest.mark.parametrize(
    "auth",
    [
        f"{{username: u, password: {MARKER}, token: {MARKER}}}",
        f"{{password: {MARKER}}}",
        f"{{username: u, password: [{MARKER}]}}",
        f"{{username: u, password: {{{MARKER}: {MARKER}}}}}",
        f"{{username: u, password:{MARKER}}}",
        f"{{username: u, pasword: {MARKER}}}",
        f"{{username: u, password: !{MARKER} x}}",
        f"{{username: u, password: *{MARKER}}}",
        f"{{username: u, password: @{MARKER}}}",
        f"{{username: u, password: '{MARKER}",
        f'{{username: u, password: "{MARKER}\\q"}}',
        f"{{username: u, password: >{MARKER}\n}}",
        f"{{username: u, password: {MARKER}\x01}}",
        f"{{username: u, password: {MARKER}, password: {MARKER}}}",
        f"{{username: u, password: {MARKER}: {MARKER}}}",
        f"{{username: u, password_env: '{MARKER}'}}",
        f"{{username: u, password_env: {MARKER.replace('-', '_')}}}",
        f"{{token: '{MARKER} {MARKER}'}}",
        MARKER,
        f"[{MARKER}]",
        f"{{username: u, password: {MARKER}}}\n    proxy_url: http://u:{MARKER}/@proxy",
        f"{{username: u, password: {MARKER}}}\n    proxy_url: http://u:{MARKER}#@proxy",
        f"{{username: u, password: {MARKER}}}\n    proxy_url: http://u:{MARKER}@[proxy",
        f"{{username: u, password: {MARKER}}}\n    proxy_url: u:{MARKER}@proxy",
        f"{{username: u, password: {MARKER}}}\n    url: https://u:{MARKER}@a",
        f"{{username: u, password: {MARKER}}}\n    timeout: {MARKER}",
    ],
)
def test_no_problem_shows_a_secret(tmp_path: Path, auth: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(f"servers:\n  - name: hq\n    auth: {auth}\n")

    with pytest.raises(ConfigError) as caught:
        load_config(file, environ={})

    messages = (
        str(caught.value),
        repr(caught.value),
        repr(caught.value.problems),
        "".join(traceback.format_exception(caught.value)),
        *map(str, caught.value.problems),
    )
    for text in messages:
        assert "hunter2" not in text
    context: BaseException | None = caught.value
    while context is not None:
        assert "hunter2" not in repr(vars(context))
        context = context.__context__


@given(st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1))
def test_a_value_without_control_characters_is_returned_unchanged(value: str) -> None:
    assert SecretSource(value=value).read() == value
    assert SecretSource(value=f"{value}\n").read() == value
