from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.metrics.text_format import Format
from exporter.web.negotiation import MAX_HEADER_CHARACTERS, accepts_gzip, choose_format

OPENMETRICS = "application/openmetrics-text"

PROMETHEUS_2_42 = (
    "application/openmetrics-text;version=1.0.0,"
    "application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_2_42_PROTOBUF = (
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited,"
    "application/openmetrics-text;version=1.0.0;q=0.8,"
    "application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
    "application/openmetrics-text;version=0.0.1;q=0.4,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,"
    "text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
)
PROMETHEUS_3_PROTOBUF = (
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;"
    "escaping=allow-utf-8;q=0.6," + PROMETHEUS_3
)
PROMETHEUS_3_UNDERSCORES = PROMETHEUS_3.replace("allow-utf-8", "underscores")
FIREFOX = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"


@pytest.mark.parametrize(
    "accept",
    [
        PROMETHEUS_2_42,
        PROMETHEUS_2_42_PROTOBUF,
        PROMETHEUS_3,
        PROMETHEUS_3_PROTOBUF,
        PROMETHEUS_3_UNDERSCORES,
        OPENMETRICS,
        f"{OPENMETRICS};version=1.0.0",
        f"{OPENMETRICS};version=0.0.1",
        f'{OPENMETRICS}; version="1.0.0"; charset=utf-8',
        f'{OPENMETRICS}; version="1.0\\.0"',
        "Application/OpenMetrics-Text;Version=1.0.0",
        f"{OPENMETRICS},text/plain",
        f"text/plain,{OPENMETRICS}",
        f"{OPENMETRICS};q=0.2,text/plain;q=0.1",
        f"{OPENMETRICS};q=0.1,*/*;q=0.1",
        "application/*",
        "application/*;q=0.5,text/plain;q=0.4",
        "*/*,text/plain;q=0.9",
        f" , {OPENMETRICS} ,, ",
        f"{OPENMETRICS};version=9.9.9;q=1,{OPENMETRICS};version=1.0.0;q=0.2",
    ],
)
def test_openmetrics_1_is_sent_if_preferred(accept: str) -> None:
    assert choose_format(accept) is Format.OPENMETRICS


@pytest.mark.parametrize(
    "accept",
    [
        None,
        "",
        " ",
        "*/*",
        "text/plain",
        "text/*",
        "text/plain;version=0.0.4",
        "text/plain;version=0.0.4;escaping=underscores",
        FIREFOX,
        f"text/plain,{OPENMETRICS};q=0.9",
        f"{OPENMETRICS};q=0.5,*/*",
        f"{OPENMETRICS};version=1.0.0;q=0.1,text/plain;version=0.0.4;q=0.2",
        "application/*,text/*",
    ],
)
def test_text_is_sent_if_preferred_or_without_a_preference(accept: str | None) -> None:
    assert choose_format(accept) is Format.TEXT


@pytest.mark.parametrize(
    "accept",
    [
        f"{OPENMETRICS};q=0",
        f"{OPENMETRICS};version=1.0.0;q=0.000,*/*;q=0.1",
        f"{OPENMETRICS};q=0,text/plain;q=0",
        f"{OPENMETRICS};version=1.0.0;q=0,{OPENMETRICS};version=0.0.1;q=0.5",
        f"{OPENMETRICS};version=1.0.0;q=0,application/*",
    ],
)
def test_a_weight_of_zero_rejects_openmetrics(accept: str) -> None:
    assert choose_format(accept) is Format.TEXT


@pytest.mark.parametrize("version", ["2.0.0", "9.9.9", "1.0", "1", "abc", '""'])
def test_other_versions_of_openmetrics_are_not_offered(version: str) -> None:
    assert choose_format(f"{OPENMETRICS};version={version}") is Format.TEXT


@pytest.mark.parametrize("accept", ["text/plain;version=1.0.0", "image/png", "application/json"])
def test_text_0_0_4_is_sent_if_neither_format_is_accepted(accept: str) -> None:
    assert choose_format(accept) is Format.TEXT


def test_text_1_0_0_is_no_request_for_text_0_0_4() -> None:
    assert choose_format(f"text/plain;version=1.0.0,{OPENMETRICS};q=0.1") is Format.OPENMETRICS


@pytest.mark.parametrize(
    "accept",
    [
        f"{OPENMETRICS};q=abc",
        f"{OPENMETRICS};q=2",
        f"{OPENMETRICS};q=-1",
        f"{OPENMETRICS};q=nan",
        f"{OPENMETRICS};q=",
        f"{OPENMETRICS};version",
        f"{OPENMETRICS} version=1.0.0",
        f'{OPENMETRICS};version="1.0.0',
        f"{OPENMETRICS}/x",
        f"/{OPENMETRICS}",
        f"{OPENMETRICS}\x00",
        f"{OPENMETRICS};x=\udc80",
        f"{OPENMETRICS};q=\u0660.\u0665",  # digits, but none of HTTP
        f"{OPENMETRICS}," + "a/b," * MAX_HEADER_CHARACTERS,
    ],
)
def test_a_malformed_header_gets_text(accept: str) -> None:
    assert choose_format(accept) is Format.TEXT


def test_the_content_types_are_exact() -> None:
    assert Format.TEXT.content_type == "text/plain; version=0.0.4; charset=utf-8"
    assert (
        Format.OPENMETRICS.content_type
        == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    )


@pytest.mark.parametrize(
    "accept_encoding",
    [
        "gzip",
        "GZip",
        "x-gzip",
        "gzip, deflate, br",
        "deflate, gzip;q=1.0, *;q=0.5",
        "br;q=1.0, gzip;q=0.001",
        "*",
        "identity;q=0, *;q=0.1",
        "gzip;",
        "gzip, identity",
        "gzip;q=0.5, identity;q=0.5",
    ],
)
def test_gzip_is_sent_if_accepted(accept_encoding: str) -> None:
    assert accepts_gzip(accept_encoding)


@pytest.mark.parametrize(
    "accept_encoding",
    [
        None,
        "",
        "identity",
        "deflate, br",
        "gzip;q=0",
        "gzip;q=0.000, *",
        "*;q=0",
        "identity;q=1, gzip;q=0.5",
        "identity, *;q=0.5",
        "gzip;q=x",
        "gzip/1;",
        "notgzip",
        "gzip" + " " * MAX_HEADER_CHARACTERS,
    ],
)
def test_gzip_is_not_sent_if_not_accepted(accept_encoding: str | None) -> None:
    assert not accepts_gzip(accept_encoding)


HEADER_PIECES = st.sampled_from(
    [
        *',;=/"\\* \t',
        "q=",
        "q=0",
        "q=1.",
        "version=",
        "1.0.0",
        OPENMETRICS,
        "text/plain",
        "gzip",
        "é",
    ]
)
HEADERS = st.text(max_size=300) | st.lists(HEADER_PIECES, max_size=60).map("".join)


@given(HEADERS)
def test_no_header_is_an_error(header: str) -> None:
    assert choose_format(header) in Format
    assert accepts_gzip(header) in {True, False}


@given(HEADERS.filter(lambda header: "application" not in header and "*/*" not in header))
def test_openmetrics_is_never_sent_without_a_request_for_it(header: str) -> None:
    assert choose_format(header) is Format.TEXT


@pytest.mark.parametrize("piece", [" ", "\t;", ";", '"\\', "a=b;", ",", "; ", "a/b;a=b "])
def test_parsing_a_hostile_header_takes_linear_time(piece: str) -> None:
    # A pattern that backtracks would not finish within the test's timeout.
    choose_format(("a/b;" + piece * MAX_HEADER_CHARACTERS)[: MAX_HEADER_CHARACTERS - 1] + "\x00")
