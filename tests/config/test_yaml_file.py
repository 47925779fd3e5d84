from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from exporter.config.problems import ConfigError
from exporter.config.yaml_file import MAX_FILE_BYTES, parse_document, read_document

ALIASES_IN_ALIASES = "k0: &k0 [1]\n" + "".join(f"k{n}: &k{n} [*k{n - 1}]\n" for n in range(1, 2000))


def problem_of(text: str | bytes) -> str:
    data = text if isinstance(text, bytes) else text.encode()
    with pytest.raises(ConfigError) as caught:
        parse_document(data, "config.yaml")
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("# only a comment\n", None),
        ("a: 1\nb: [x, 2.5, true, no, ~]\n", {"a": 1, "b": ["x", 2.5, True, False, None]}),
        ("day: 2024-01-31\n", {"day": "2024-01-31"}),
        ("day: 2024-99-99\n", {"day": "2024-99-99"}),
        ("1: x\nyes: y\n", {"1": "x", "yes": "y"}),
        ("\ufeffa: ü\n", {"a": "ü"}),
        ("a: &x {b: 1}\nc: *x\n", {"a": {"b": 1}, "c": {"b": 1}}),
        (
            "a: &x {b: 1, c: 2}\nd: {<<: *x, c: 3}\n",
            {"a": {"b": 1, "c": 2}, "d": {"b": 1, "c": 3}},
        ),
        ("a: {<<: [{b: 1}, {b: 2, c: 3}]}\n", {"a": {"b": 1, "c": 3}}),
    ],
)
def test_yaml_becomes_plain_values(text: str, value: object) -> None:
    document, problems = parse_document(text.encode(), "config.yaml")

    assert document == value
    assert problems.found == []


def test_duplicate_keys_are_all_reported_with_their_lines() -> None:
    text = "a: 1\nb:\n  - c: 1\n    d: 2\n    c: 3\na: 4\n"

    document, problems = parse_document(text.encode(), "config.yaml")

    assert document == {"a": 1, "b": [{"c": 1, "d": 2}]}
    assert [str(problem) for problem in problems.found] == [
        "b[0].c: duplicate key in line 5, first in line 3",
        "a: duplicate key in line 6, first in line 1",
    ]


def test_an_overridden_merged_key_is_not_a_duplicate_wherever_the_alias_is_used() -> None:
    text = "a: &a {x: 1}\nb: &b {<<: *a, x: 2}\nc: {<<: *b}\nd: {<<: *b, x: 3}\n"

    document, problems = parse_document(text.encode(), "config.yaml")

    assert document == {"a": {"x": 1}, "b": {"x": 2}, "c": {"x": 2}, "d": {"x": 3}}
    assert problems.found == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: 1\nb: [1\nc: 2\n", "line 3, column 2: a comma or the closing bracket is missing"),
        ("a: 1\n  b: 2\n", "line 2, column 4: a key is not expected here; check the indentation"),
        ("a: 'x\n", "line 2, column 1: quotes are not closed"),
        ("a: 'x' y\n", "line 1, column 8: the indentation does not fit here, or quotes"),
        ("a:\n\tb: 1\n", "line 2, column 1: a tab is not allowed here; use spaces"),
        ("a: 1\n\tb: 1\n", "line 2, column 1: a tab is not allowed here; use spaces"),
        ("a:\t1\n", "line 1, column 3: a tab is not allowed here; use spaces"),
        ('a: "C:\\Users\\hunter2"\n', r"line 1, column 9: unknown escape; single quotes take \ as"),
        (
            "a: {b: ${C}}\n",
            "line 1, column 9: a comma or the closing bracket is missing before this",
        ),
        ("a: hunter2\n".encode("utf-16"), "is UTF-16 text, which Windows PowerShell writes by"),
        ("a: hunter2\n".encode("utf-16-le"), "is UTF-16 text, which Windows PowerShell writes by"),
        ("a: hunter2\n".encode("utf-16-be"), "is UTF-16 text, which Windows PowerShell writes by"),
        ("a: 1\n---\nb: 2\n", "line 2, column 1: a second document (---) is not expected"),
        ("a: @hunter2\n", "line 1, column 4: a value cannot start with this character"),
        ("a: *hunter2\n", "line 1, column 4: an alias (*) without its anchor (&); quote text"),
        ("a: *!hunter2\n", "line 1, column 5: expected alphabetic or numeric character"),
        ("a: !hunter2 x\n", "line 1, column 4: tags (!) are not supported; quote text that"),
        ("a: !!python/name:os.system\n", "line 1, column 4: tags (!) are not supported"),
        ("a: !!set {x}\n", "line 1, column 4: tags (!) are not supported"),
        ("a: !!omap [x: 1]\n", "line 1, column 4: tags (!) are not supported"),
        ("a: !!binary aHVudGVyMg==\n", "line 1, column 4: tags (!) are not supported"),
        ('a: "hunter\\q2"\n', r"line 1, column 12: unknown escape; single quotes take \ as it is"),
        ("a: !!int hunter2\n", "line 1, column 4: looks like a number or boolean but is not one"),
        ("a: !!int ''\n", "line 1, column 4: looks like a number or boolean but is not one"),
        ("a: !!bool hunter2\n", "line 1, column 4: looks like a number or boolean but is not one"),
        (f"a: {'9' * 5000}\n", "line 1, column 4: looks like a number or boolean but is not one"),
        ("[a]: 1\n", "line 1, column 1: a key must be a word"),
        ("a: {<<: 1}\n", "line 1, column 9: << takes a mapping"),
        ("a: &a [*a]\n", "line 1, column 4: an alias inside the value that it refers to"),
        ("a: 1\nb: \x01\n", "line 2, column 4: the character U+0001 is not allowed"),
        (b"a: 1\nb: hunter2\xff\n", "line 2: not UTF-8 text"),
        ("a: " + "[" * 500, "line 1, column 53: nested too deeply"),
        ("? " * 500, "line 1, column 101: nested too deeply"),
        (ALIASES_IN_ALIASES, "line 49, column 12: nested too deeply"),
        ("#" * (MAX_FILE_BYTES + 1), "is larger than 1024 KiB"),
    ],
)
def test_unreadable_text_is_located_and_not_quoted(text: str | bytes, problem: str) -> None:
    message = problem_of(text)

    assert message.startswith(f"config.yaml: {problem}")
    assert "hunter2" not in message


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("a: “b”", 'column 4: U+201C (left double quotation mark) has no meaning in YAML; use "'),
        ("a: [b, ‘c’]", "column 8: U+2018 (left single quotation mark) has no meaning in YAML; use '"),
        ("a: b„", 'column 5: U+201E (double low-9 quotation mark) has no meaning in YAML; use "'),
        ("  – a", "column 3: U+2013 (en dash) has no meaning in YAML; use -"),
        ("a： b", "column 2: U+FF1A (fullwidth colon) has no meaning in YAML; use :"),
        ("a:\N{NO-BREAK SPACE}b", "column 3: U+00A0 (no-break space) is invisible; remove it or use a space"),
        ("a\N{ZERO WIDTH SPACE}: b", "column 2: U+200B (zero width space) is invisible; remove it or use a space"),
        ("\ufeff\ufeffa: b", "column 1: U+FEFF (zero width no-break space) is invisible; remove it or use a space"),
        ("a: b ’s – c “d” e", None),
        ("a: b # “c”", None),
        (f"a: {'b' * 1000} “c”", None),
        ("# “c”", None),
        ("a: Zürich", None),
    ],
)  # fmt: skip
def test_characters_that_are_not_what_they_seem_are_hints(line: str, hint: str | None) -> None:
    _, problems = parse_document(line.encode(), "config.yaml")

    expected = [] if hint is None else [f"config.yaml: line 1, {hint}"]
    assert [str(problem) for problem in problems.hints] == expected


def test_only_the_first_three_lines_with_such_characters_are_named() -> None:
    _, problems = parse_document("a: “b”\n".encode() * 9, "config.yaml")

    assert [problem.message.partition(",")[0] for problem in problems.hints] == [
        *("line 1", "line 2", "line 3")
    ]


def test_text_that_is_not_yaml_has_the_hints_too() -> None:
    message = problem_of("a: b\n– c\n")

    assert message.split("; config.yaml: ") == [
        "config.yaml: line 2, column 1: U+2013 (en dash) has no meaning in YAML; use -",
        "line 3, column 1: a colon and a space are missing after a key",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n"
        + "".join(
            f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n"
            for before, name in zip("abcdefghi", "bcdefghij", strict=True)
        ),
        "a: &a {x: 1}\n"
        + "".join(
            f"{name}: &{name} {{<<: [{', '.join([f'*{before}'] * 10)}]}}\n"
            for before, name in zip("abcdefghi", "bcdefghij", strict=True)
        ),
    ],
    ids=["aliases", "merges"],
)
def test_aliases_of_aliases_cannot_fill_the_memory(text: str) -> None:
    assert "too many values once aliases are expanded" in problem_of(text)


@pytest.mark.parametrize("line_break", ["\n", "\r", "\r\n", "\x85", "\u2028"])
def test_the_place_of_an_error_counts_the_line_breaks_of_yaml(line_break: str) -> None:
    with pytest.raises(ConfigError, match=r"line 2, column 2: "):
        parse_document(f"{line_break}[".encode(), "config.yaml")


@given(
    st.binary(max_size=200)
    | st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace"))
)
def test_any_bytes_give_a_value_or_a_config_error(data: bytes) -> None:
    with contextlib.suppress(ConfigError):
        parse_document(data, "config.yaml")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=20,
    )
)
def test_values_dumped_as_yaml_are_read_unchanged(value: object) -> None:
    document, problems = parse_document(yaml.safe_dump(value).encode(), "config.yaml")

    assert document == value
    assert problems.found == []


def test_a_missing_file_is_named_as_it_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    with pytest.raises(ConfigError) as caught:
        read_document(Path("config.yaml"))

    assert str(caught.value) == "config.yaml: cannot be read: No such file or directory"


def test_a_directory_is_not_a_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read_document(tmp_path)

    assert str(caught.value) == (
        f"{tmp_path}: cannot be read: it is a directory; "
        "a container engine makes one where the file to be mounted does not exist"
    )


def test_a_file_without_permission_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    file = tmp_path / "config.yaml"
    file.write_text("a: 1")
    monkeypatch.setattr(Path, "open", refuse)

    with pytest.raises(ConfigError, match=r"config\.yaml: cannot be read: Permission denied"):
        read_document(file)
