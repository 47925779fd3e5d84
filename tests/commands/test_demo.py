from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from exporter.commands.demo import demo_config
from exporter.system.files import OutputError


def test_without_a_temporary_directory_the_error_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "absent"))

    with pytest.raises(OutputError) as caught, demo_config():
        pass

    assert str(caught.value) == (
        "the demo cannot start: No such file or directory; it needs a writable temporary directory, which TMPDIR can "
        "name, and a free port on 127.0.0.1"
    )


def test_the_temporary_directory_may_have_any_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tmp_path / "a: 'b' #\\c"
    directory.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(directory))

    with demo_config() as config:
        ca_file = config.servers[0].tls_config.ca_file

    assert ca_file is not None
    assert ca_file.parent == directory
