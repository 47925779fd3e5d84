from __future__ import annotations

import gzip
import io
import json
import math
import tracemalloc
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.vb365.http.body import BadBodyError, decode_json, inflate, read_body

LIMIT = 100_000

_texts = st.text(st.characters(codec="utf-8"))
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**19), 10**19)
    | st.floats(allow_nan=False, allow_infinity=False)
    | _texts,
    lambda children: st.lists(children, max_size=3) | st.dictionaries(_texts, children, max_size=3),
    max_leaves=8,
)


class Raw:
    """A body as urllib3 provides it, which counts the bytes read."""

    def __init__(self, body: bytes, encoding: str | None = None) -> None:
        self._body = io.BytesIO(body)
        self.headers = {"Content-Encoding": encoding} if encoding is not None else {}
        self.bytes_read = 0

    def read(self, amt: int, decode_content: bool) -> bytes:  # noqa: FBT001 - urllib3's signature
        """Return the next bytes."""
        assert not decode_content
        part = self._body.read(amt)
        self.bytes_read += len(part)
        return part


def bare_deflate(data: bytes) -> bytes:
    return zlib.compress(data)[2:-4]


@pytest.mark.parametrize("size", [0, 1, 65536, 65537, LIMIT])
def test_a_body_up_to_the_limit_is_read_whole(size: int) -> None:
    assert read_body(Raw(b"x" * size), limit=LIMIT) == (b"x" * size, False)


@pytest.mark.parametrize("limit", [LIMIT, 3 << 20])
def test_a_body_over_the_limit_is_refused_once_a_byte_more_was_read(limit: int) -> None:
    raw = Raw(b"x" * 2 * limit)
    with pytest.raises(BadBodyError, match=f"larger than {limit} bytes"):
        read_body(raw, limit=limit)
    assert raw.bytes_read == limit + 1


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [
        ("gzip", gzip.compress),
        ("X-GZip ", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", bare_deflate),
        ("identity", bytes),
        ("", bytes),
    ],
)
def test_a_compressed_body_is_decompressed(encoding: str, pack: Callable[[bytes], bytes]) -> None:
    plain = b'{"a": 1}' * 1000
    assert read_body(Raw(pack(plain), encoding), limit=LIMIT) == (plain, False)


@pytest.mark.parametrize(("encoding", "pack"), [(None, bytes), ("gzip", gzip.compress)])
@pytest.mark.parametrize("cut_digits", range(3))
def test_a_body_over_the_limit_can_be_cut_where_no_value_is_cut(
    encoding: str | None, pack: Callable[[bytes], bytes], cut_digits: int
) -> None:
    beginning = b'{"restored": 12, "items": [' + b"1, " * 999 + b"1"
    body = beginning + b", 234" + b", 5" * LIMIT
    limit = len(beginning) + 2 + cut_digits

    cut = read_body(Raw(pack(body), encoding), limit=limit, may_cut=True)

    assert cut == (beginning, True)
    assert decode_json(cut.content, is_cut=True) == {"restored": 12, "items": [1] * 1000}
    with pytest.raises(BadBodyError):
        decode_json(cut.content)


def test_a_body_within_the_limit_is_not_cut() -> None:
    body = b"[1, 2, 3]"
    uncut = (body, False)
    assert read_body(Raw(body), limit=len(body), may_cut=True) == uncut
    assert read_body(Raw(gzip.compress(body), "gzip"), limit=LIMIT, may_cut=True) == uncut


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "x"])
def test_a_content_encoding_that_was_not_requested_is_refused(encoding: str) -> None:
    with pytest.raises(BadBodyError, match="not requested"):
        read_body(Raw(b"x", encoding), limit=LIMIT)


def test_a_body_of_exactly_the_limit_is_decompressed() -> None:
    assert len(inflate(gzip.compress(b"x" * LIMIT), limit=LIMIT).content) == LIMIT


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress, bare_deflate])
def test_a_bomb_is_refused_before_it_fills_the_memory(pack: Callable[[bytes], bytes]) -> None:
    bomb = pack(bytes(50_000_000))
    tracemalloc.start()
    with pytest.raises(BadBodyError, match="when decompressed"):
        inflate(bomb, limit=LIMIT)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10 * LIMIT


@pytest.mark.parametrize(
    "broken",
    [
        b"not compressed",
        gzip.compress(b"x" * 1000, mtime=0)[:-1],
        gzip.compress(b"x" * 1000, mtime=0)[:12],
        gzip.compress(b"x", mtime=0) + gzip.compress(b"y", mtime=0),
        gzip.compress(b"x", mtime=0) + b"trailing",
        gzip.compress(b"x", mtime=0)[:-8] + b"\0" * 8,
    ],
)
def test_broken_compression_is_refused(broken: bytes) -> None:
    with pytest.raises(BadBodyError, match="broken"):
        inflate(broken, limit=LIMIT)


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b"{}", {}),
        (b"\xef\xbb\xbf[1, -1.5, null]", [1, -1.5, None]),
        (b" " * 100 + b"{}\r\n", {}),
        ('"ü\\ud800"'.encode(), "ü\ud800"),
        (b"9223372036854775807", 2**63 - 1),
        (b"-9223372036854775808", -(2**63)),
    ],
)
def test_json_is_decoded(body: bytes, value: object) -> None:
    assert decode_json(body) == value


@pytest.mark.parametrize(
    ("number", "value"),
    [
        (b"1e999", math.inf),
        (b"-1e999", -math.inf),
        (b"9" * 400, 10**400 - 1),
        (b"-" + b"9" * 5000, -math.inf),
    ],
    ids=lambda value: str(value)[:10],
)
def test_a_number_that_no_field_can_hold_does_not_lose_other_values(
    number: bytes, value: float
) -> None:
    assert decode_json(b'{"eTag": ' + number + b', "name": "x"}') == {"eTag": value, "name": "x"}


@given(value=json_values, ensure_ascii=st.booleans())
def test_both_decoders_return_the_same(value: object, ensure_ascii: bool) -> None:  # noqa: FBT001 - drawn
    body = json.dumps(value, ensure_ascii=ensure_ascii).encode()
    beside_lone_surrogate = b'["\\ud800", ' + body + b"]"  # only the lenient decoder accepts it
    assert decode_json(body) == value
    assert decode_json(beside_lone_surrogate) == ["\ud800", value]


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "empty"),
        (b"\xef\xbb\xbf \r\n", "empty"),
        (b" " * 1000, "empty"),
        (b"<!DOCTYPE html>", "HTML or XML"),
        (b"\xef\xbb\xbf\n<Error/>", "HTML or XML"),
        (b'{"a": NaN}', "contains NaN"),
        (b"[Infinity]", "contains Infinity"),
        (b"[-Infinity]", "contains -Infinity"),
        (b'"\xff"', "not UTF-8"),
        ('"ü"'.encode("utf-16"), "not UTF-8"),
        (b"[" * 200_000 + b"]" * 200_000, "nested too deeply"),
        (b'{"a":' * 200_000, "nested too deeply"),
        (b"{} {}", "not JSON"),
        (b"{'a': 1}", "not JSON"),
        (b'"\n"', "not JSON"),
        (b"[" + b"[]," * 500_000 + b"0]", "more than 500000 values"),
        (b"[" + b'{"":0},' * 300_000 + b"0]", "more than 500000 values"),
        (b"[" + b"0," * 500_001 + b"0]", "more than 500000 values"),
    ],
    ids=lambda value: str(value[:20]),
)
def test_invalid_json_is_refused_with_a_reason_that_does_not_quote_it(
    body: bytes, text: str
) -> None:
    with pytest.raises(BadBodyError, match=text):
        decode_json(body)


def test_a_large_body_of_few_values_is_decoded() -> None:
    assert decode_json(b'["' + b"x," * 499_998 + b'"]') == ["x," * 499_998]


@pytest.mark.parametrize(("kilobytes", "decoded"), [(2000, True), (2100, False)])
def test_a_body_that_only_the_lenient_decoder_accepts_has_a_lower_limit(
    kilobytes: int,
    decoded: bool,  # noqa: FBT001 - a parameter
) -> None:
    text = "x" * kilobytes * 1024
    assert decode_json(f'["{text}"]'.encode()) == [text]
    body = f'["\\ud800{text}"]'.encode()
    if decoded:
        assert decode_json(body) == [f"\ud800{text}"]
    else:
        with pytest.raises(BadBodyError, match="not strict JSON and larger than 2097152 bytes"):
            decode_json(body)


def test_a_refused_body_is_not_kept_by_the_error() -> None:
    with pytest.raises(BadBodyError) as caught:
        decode_json(b'{"password": "hunter2", ]')
    assert caught.value.__context__ is None
    assert json.dumps(str(caught.value)) == '"the body is not JSON"'
