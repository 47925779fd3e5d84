"""The command as on Windows: `python -m support.windows_emulation FLAGS...` loads every module of the exporter, then runs it.

What Windows does not have is taken from Python first: signals, modules, functions, sockets, what its event loop cannot
do. The libraries are loaded before that, as whether they know Windows is their makers' affair. Files stay POSIX's:
`pathlib` cannot be another system's.
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
NOT_OF_THE_LOOP = (
    *("add_reader", "add_writer", "add_signal_handler"),
    *("create_unix_connection", "create_unix_server"),
)


def _take(module: ModuleType, names: Iterable[str]) -> None:
    for name in names:
        if hasattr(module, name):
            delattr(module, name)


def _refuse(*_arguments: object, **_options: object) -> None:
    raise NotImplementedError


def become_windows() -> None:
    """Take away what Windows does not have, and put in the little that only it has."""
    # The event loop wakes itself by a pair of sockets, on Windows by one of loopback.
    setattr(socket, "socketpair", functools.partial(socket.socketpair, socket.AF_UNIX))  # noqa: B010 - mypy
    # Two that only Windows has, as others by which to see that they are used.
    setattr(signal, "SIGBREAK", signal.SIGUSR1)  # noqa: B010 - not in typeshed for other systems
    setattr(socket, "SO_EXCLUSIVEADDRUSE", socket.SO_REUSEADDR)  # noqa: B010 - the same
    _take(signal, NO_SIGNALS)
    _take(socket, NO_SOCKETS)
    _take(os, NO_FUNCTIONS)
    for name in NO_MODULES:
        sys.modules[name] = None  # type: ignore[assignment] # makes its import fail
    for name in NOT_OF_THE_LOOP:
        setattr(asyncio.SelectorEventLoop, name, _refuse)
    sys.platform = "win32"


def load_all() -> None:
    """Load every module of the exporter, but those that do something when they are loaded."""
    package = importlib.import_module("exporter")
    for found in pkgutil.walk_packages(package.__path__, "exporter."):
        if not found.name.endswith(".__main__"):
            importlib.import_module(found.name)


def forget_all() -> None:
    """Forget the exporter's modules; the libraries that they have loaded stay."""
    for name in list(sys.modules):
        if name.partition(".")[0] == "exporter":
            del sys.modules[name]


if __name__ == "__main__":
    load_all()
    forget_all()
    become_windows()
    load_all()
    main = importlib.import_module("exporter.cli").main
    sys.exit(main(sys.argv[1:]))
