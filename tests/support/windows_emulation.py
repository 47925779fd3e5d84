"""Run the command as on Windows: `python -m support.windows_emulation FLAGS...`.

Modules, signals, functions, socket options and event loop methods that Windows lacks are removed from Python; then every
module of the exporter is imported and the command runs. Third-party libraries are imported before that: their support of
Windows is not under test. Paths stay POSIX paths, because `pathlib` cannot emulate another system.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import os
import pkgutil
import signal
import socket
import sys
from collections.abc import Iterable
from types import ModuleType

NO_MODULES = ("fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty")
NO_SIGNALS = (
    *("SIGALRM", "SIGCHLD", "SIGCONT", "SIGHUP", "SIGKILL", "SIGPIPE", "SIGPROF", "SIGQUIT"),
    *("SIGSTOP", "SIGTSTP", "SIGTTIN", "SIGTTOU", "SIGUSR1", "SIGUSR2", "SIGWINCH"),
    *("alarm", "getitimer", "pause", "pthread_kill", "pthread_sigmask", "setitimer"),
    *("siginterrupt", "sigpending", "sigtimedwait", "sigwait", "sigwaitinfo"),
)
NO_SOCKETS = ("AF_UNIX", "MSG_DONTWAIT", "MSG_NOSIGNAL", "SO_REUSEPORT", "sethostname")
NO_FUNCTIONS = (
    *("chown", "chroot", "fchdir", "fchmod", "fchown", "fdatasync", "fork", "forkpty", "getegid"),
    *("geteuid", "getgid", "getgroups", "getloadavg", "getpgid", "getpgrp", "getpriority"),
    *("getresuid", "getsid", "getuid", "initgroups", "killpg", "lchown", "lockf", "memfd_create"),
    *("mkfifo", "mknod", "nice", "openpty", "pipe2", "posix_fadvise", "posix_fallocate"),
    *("posix_spawn", "pread", "preadv", "pwrite", "pwritev", "readv", "sched_getaffinity"),
    *("sched_yield", "sendfile", "setgid", "setpgid", "setsid", "setuid", "splice", "statvfs"),
    *("sync", "sysconf", "tcgetpgrp", "ttyname", "uname", "wait3", "wait4", "waitid", "writev"),
    *("O_ASYNC", "O_CLOEXEC", "O_DIRECTORY", "O_DSYNC", "O_NOATIME", "O_NOFOLLOW", "O_NONBLOCK"),
)
NO_LOOP_METHODS = (
    *("add_reader", "add_writer", "add_signal_handler"),
    *("create_unix_connection", "create_unix_server"),
)


def _remove(module: ModuleType, names: Iterable[str]) -> None:
    for name in names:
        if hasattr(module, name):
            delattr(module, name)


def _raise_not_implemented(*_arguments: object, **_options: object) -> None:
    raise NotImplementedError


def become_windows() -> None:
    """Remove what Windows lacks, and add the few names that only Windows has."""
    # The event loop wakes itself through a socket pair; on Windows that is a loopback connection.
    setattr(socket, "socketpair", functools.partial(socket.socketpair, socket.AF_UNIX))  # noqa: B010 - mypy
    # Names that only Windows has; the values are recognisable stand-ins.
    setattr(signal, "SIGBREAK", signal.SIGUSR1)  # noqa: B010 - not in typeshed for other systems
    setattr(socket, "SO_EXCLUSIVEADDRUSE", socket.SO_REUSEADDR)  # noqa: B010 - the same
    _remove(signal, NO_SIGNALS)
    _remove(socket, NO_SOCKETS)
    _remove(os, NO_FUNCTIONS)
    for name in NO_MODULES:
        sys.modules[name] = None  # type: ignore[assignment] # makes its import fail
    for name in NO_LOOP_METHODS:
        setattr(asyncio.SelectorEventLoop, name, _raise_not_implemented)
    sys.platform = "win32"


def import_all() -> None:
    """Import every module of the exporter except `__main__`."""
    package = importlib.import_module("exporter")
    for found in pkgutil.walk_packages(package.__path__, "exporter."):
        if not found.name.endswith(".__main__"):
            importlib.import_module(found.name)


def drop_all() -> None:
    """Drop the exporter's modules from `sys.modules`, but keep the imported libraries."""
    for name in list(sys.modules):
        if name.partition(".")[0] == "exporter":
            del sys.modules[name]


if __name__ == "__main__":
    import_all()
    drop_all()
    become_windows()
    import_all()
    main = importlib.import_module("exporter.cli").main
    sys.exit(main(sys.argv[1:]))
