from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import support.windows_emulation

PROGRAM = """
import sys
from pathlib import Path
from support.windows_emulation import become_windows, drop_all, import_all
import_all()
drop_all()
become_windows()
from exporter.audit import AuditFile
for line in (b'{"time":"1","event":"started"}\\n', b'{"time":"2","event":"ended"}\\n{"ti'):
    audit = AuditFile(Path(sys.argv[1]))
    audit.open()
    audit.append(line, sync=True)
    audit.close()
audit.open()
"""


def test_without_posix_locks_and_permissions_a_file_is_written_and_repaired(file: Path) -> None:
    paths = str(Path(support.windows_emulation.__file__).parents[1])
    subprocess.run(
        [sys.executable, "-c", PROGRAM, file], env={**os.environ, "PYTHONPATH": paths}, check=True
    )

    assert file.read_bytes() == b'{"time":"1","event":"started"}\n{"time":"2","event":"ended"}\n'
