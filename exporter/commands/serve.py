"""Serve and poll until a signal stops the process; reload on request."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

import structlog

from exporter import __version__
from exporter.config import Config
from exporter.flags import Options
from exporter.service.audit_trail import audited
from exporter.service.backend import ServiceBackend
from exporter.service.reload import Reloader
from exporter.service.service import Service
from exporter.system.interpreter import trim_freed_memory
from exporter.system.signals import WAKE_SECONDS, Command, Commands, signal_commands
from exporter.system.systemd import Notifier, listen_fds
from exporter.threads import ThreadLimitError, start_thread
from exporter.web.app import WebApp
from exporter.web.connections import ConnectionManager
from exporter.web.listeners import Address, bind_listeners
from exporter.web.server import WebServer
from exporter.web.status.formatting import counted
from exporter.web.webconfig.access import AccessControl
from exporter.web.webconfig.reloader import WebConfigReloader

log = structlog.get_logger()

_DRAIN_SECONDS = 1.5
_AUDIT_SECONDS = 1.0
_WILDCARD_HOSTS = {"::", "0.0.0.0"}  # noqa: S104 - compared with, not bound to


def serve(
    options: Options,
    load: Callable[[], Config],
    *,
    on_listening: Callable[[str], None],
) -> int:
    """Poll and serve until a signal stops the process; return the exit status.

    Args:
        options: the command line.
        load: loads the configuration, at startup and for each reload.
        on_listening: called with the first listener's URL when the web server has started.

    Raises:
        ConfigError: the configuration or the web configuration is invalid.
        OutputError: the audit log cannot be written.
        WebServerError: the web server cannot serve.
        ThreadLimitError: the process cannot have a thread for each server.
        NotActivatedError: systemd passed no listening sockets although `--web.systemd-socket` is set.
    """
    trim_freed_memory()
    with signal_commands() as commands:
        if commands.stop_received:
            log.info("stopped while starting")
            return 0
        notifier = Notifier()
        config = load()
        web_config = WebConfigReloader(options.web_config_file)
        access = AccessControl(web_config)
        listeners = (
            listen_fds()
            if options.web_systemd_socket
            else bind_listeners(options.web_listen_address)
        )
        service = Service(config)
        reloader = Reloader(service, load, web_config, notifier)
        app = WebApp(
            ServiceBackend(service),
            telemetry_path=options.web_telemetry_path,
            max_requests=options.web_max_requests,
            guard=access.authorize,
            extra_headers=access.headers,
            reload=reloader.reload if options.web_enable_lifecycle else None,
            monotonic=service.clock.monotonic,
        )
        web = WebServer(ConnectionManager(app, tls=access.tls), listeners)
        with audited(service, options.audit_log_file, close_seconds=_AUDIT_SECONDS):
            web.start()
            log.info(
                "started",
                version=__version__,
                servers=len(config.servers),
                shard=options.shard,
                total_shards=options.total_shards,
                listening=",".join(map(str, web.addresses)),
                protected_by=", ".join(sorted(web_config.current.protections)) or "nothing",
            )
            on_listening(_url(web.addresses[0], web_config))
            service.start()
            notifier.ready()
            status = _run(commands, service, reloader, web, notifier)
            log.info("stopping")
            notifier.stopping()
            web.close(_DRAIN_SECONDS)
            service.stop()
        log.info("stopped")
    return status


def _url(address: Address, web_config: WebConfigReloader) -> str:
    scheme = "https" if "TLS" in web_config.current.protections else "http"
    host = "localhost" if address.host in _WILDCARD_HOSTS else address.url_host
    return f"{scheme}://{host}:{address.port}"


def _run(
    commands: Commands,
    service: Service,
    reloader: Reloader,
    web: WebServer,
    notifier: Notifier,
) -> int:
    """Execute commands and ping the watchdog until the command to stop; return the exit status."""
    next_ping = -math.inf
    reload_due = False
    reloading: threading.Thread | None = None
    while True:
        command = commands.get(min(WAKE_SECONDS, notifier.watchdog_seconds or math.inf))
        if command is Command.STOP:
            return 0
        reload_due |= command is Command.RELOAD
        if reload_due and (reloading is None or not reloading.is_alive()):
            reload_due = False
            reloading = _start_reload(reloader)
        if not web.running:
            log.error("web server stopped unexpectedly, exiting")
            return 1
        healthy = _supervise(service, reloader, notifier)
        if notifier.watchdog_seconds and healthy and time.monotonic() >= next_ping:
            next_ping = time.monotonic() + notifier.watchdog_seconds
            notifier.ping_watchdog()


def _start_reload(reloader: Reloader) -> threading.Thread | None:
    """Reload in a thread, as a file system may not answer; without one, reload before returning."""
    try:
        return start_thread(reloader.reload, name="reload")
    except ThreadLimitError:
        reloader.reload()
        return None


def _supervise(service: Service, reloader: Reloader, notifier: Notifier) -> bool:
    """Supervise the service and reloads, and report the status to systemd; return whether every part of the service runs."""
    try:
        service.supervise()
        reloader.check_progress()
        notifier.status(_status(service, reloader))
        return not service.problems()
    except Exception:
        log.exception("cannot supervise the poll loops, trying again")
        return False


def _status(service: Service, reloader: Reloader) -> str:
    """Return the line that `systemctl status` shows."""
    failing = [
        f"{snapshot.server} ({snapshot.status.failure_reason})"
        for snapshot in service.publisher.snapshots()
        if snapshot.status.up is False
    ]
    parts = [f"polling {counted(len(service.config.servers), 'server')}"]
    if failing:
        parts.append(f"failing: {', '.join(failing)}")
    if stuck := service.stuck_servers():
        parts.append(f"stuck: {', '.join(stuck)}")
    if problem := reloader.problem:
        parts.append(problem)
    return "; ".join(parts)
