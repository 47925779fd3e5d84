"""A file server to compare with: nginx serving an exposition from disk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from support.benchmark_clients import Scraper
from support.processes import debian_program, free_port, running_process
from support.waiting import wait_until

_CONFIG = """
worker_processes auto;
daemon off;
user root;
pid {directory}/nginx.pid;
error_log {directory}/nginx-error.log;
events {{}}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000;
    default_type "{content_type}";
    {temporary}
    server {{
        listen {address};
        root {directory};
        gzip_static on;
    }}
}}
"""
_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


def write_body(directory: Path, address: str, *, gzip: Sequence[bool] = (True, False)) -> None:
    """Save an exporter's response for the file server, as /metrics and /metrics.gz."""
    for compressed in gzip:
        with Scraper(address, gzip=compressed) as scraper:
            scraper.scrape()
            (directory / ("metrics.gz" if compressed else "metrics")).write_bytes(scraper.body)
    (directory / "metrics").touch()


@contextmanager
def file_server(
    directory: Path,
    *,
    content_type: str = "application/openmetrics-text; version=1.0.0; charset=utf-8",
) -> Iterator[str]:
    """Serve a directory; yield host:port."""
    binary = debian_program("nginx", "nginx-light")
    address = f"127.0.0.1:{free_port()}"
    config = directory / "nginx.conf"
    config.write_text(
        _CONFIG.format(
            directory=directory,
            address=address,
            content_type=content_type,
            temporary="\n    ".join(f"{name}_temp_path {directory}/{name};" for name in _TEMPORARY),
        )
    )

    def answers() -> bool:
        with suppress(ConnectionError), Scraper(address) as scraper:
            scraper.scrape()
            return True
        return False

    with running_process(
        [binary, "-c", config, "-e", directory / "nginx-error.log"], directory / "nginx.log"
    ):
        wait_until(answers, "nginx answers")
        yield address
