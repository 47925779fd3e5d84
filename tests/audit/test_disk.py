from __future__ import annotations

import builtins
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from exporter.audit import disk


def on_windows(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module as it is there, where there are no POSIX locks and permissions."""
    real_import = builtins.__import__

    def no_fcntl(name: str, *rest: Any, **more: Any) -> ModuleType:
        if name == "fcntl":
            raise ImportError(name)
        return real_import(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", no_fcntl)
    monkeypatch.setattr(sys, "platform", "win32")
    for name in ("fchmod", "fchown", "O_NONBLOCK"):
        monkeypatch.delattr(os, name)
    spec = importlib.util.spec_from_file_location("disk_on_windows", disk.__file__)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_where_there_are_no_locks_and_permissions_a_file_is_written_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    windows = on_windows(monkeypatch).Disk()
    file = tmp_path / "audit.log"

    descriptor, created = windows.open(file)
    assert created
    assert windows.lock(descriptor)
    windows.permit(descriptor, 0o600)
    windows.sync_folder(tmp_path)
    assert windows.write(descriptor, b"abc") == 3
    windows.truncate(descriptor, 2)
    windows.sync(descriptor)
    assert windows.is_at(descriptor, file)
    windows.close(descriptor)

    descriptor, created = windows.open(file)
    assert not created
    assert windows.read(descriptor, 1, 10) == b"b"
    windows.close(descriptor)
