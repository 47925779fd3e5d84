"""A VB365 API that costs next to nothing to serve: nginx with canned responses."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import requests
import trustme

from exporter.config import Config, parse_config
from exporter.simulator.api.documents import Page, SessionWriter
from exporter.simulator.world.sessions import Session
from exporter.simulator.world.world import World
from support.processes import debian_program, free_port, running_process
from support.waiting import wait_until

PAGE_SIZE = 1000
_OVERLAP = 20
"""How many sessions of a page the exporter requests again with the next one."""
_ECHO_MODULE = "/usr/lib/nginx/modules/ngx_http_echo_module.so"
_INSTANCE = '{"installationId":"90e7a2a1-30c5-4d2c-a5a7-5f2c4a4d7ab5","version":"8.4.0.1222"}'
_ORGANIZATIONS = '{"offset":0,"limit":1000,"results":[]}'


@dataclass(frozen=True)
class CannedApi:
    """A running canned API with the sessions of a simulated world."""

    url: str
    ca_file: Path
    ids: Sequence[str]
    """Newest first."""
    page_targets: Sequence[str]
    """The request target of every page of the full list."""
    pid: int

    def processor_seconds(self) -> float:
        """Return the processor time that nginx has used so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def config(self, sessions: str = "lookback: 60d", top: str = "", extra: str = "") -> Config:
        """Return the configuration of an exporter that polls it; session keys are in YAML's flow style."""
        return parse_config(
            f"{top}\nservers:\n  - name: hq\n    url: {self.url}\n    api_version: v8\n"
            f"    auth: {{token: canned}}\n    tls_config: {{ca_file: {self.ca_file}}}\n"
            f"    sessions: {{{sessions}}}\n    {extra}\n",
            directory=self.ca_file.parent,
        )


@contextmanager
def canned_api(
    sessions: int, directory: Path, *, latency_seconds: float = 0.0
) -> Iterator[CannedApi]:
    """Serve this many finished sessions; every response is delayed by the latency."""
    nginx = debian_program("nginx", "nginx-light")
    directory.mkdir(parents=True, exist_ok=True)
    listed = World(sessions=sessions, activity=False, minimum=False).sessions()
    overlap = timedelta(minutes=10)
    recent = [
        session for session in listed if session.creation_time > listed[0].creation_time - overlap
    ]
    writer = SessionWriter("sentinel")
    page_targets = _write_pages(directory, "page", listed, writer)
    _write_pages(directory, "recent", recent, writer)
    port = free_port()
    # One record serves every request by id, with the requested id put in.
    one = writer.record(listed[-1], "v8").replace(listed[-1].id, "$id") if listed else ""
    _write_configuration(directory, port, latency_seconds, one)
    url = f"https://127.0.0.1:{port}"
    with running_process(
        [nginx, "-e", "stderr", "-p", directory, "-c", directory / "nginx.conf"],
        directory / "nginx.log",
    ) as process:
        ca_file = directory / "ca.pem"
        wait_until(lambda: _answers(url, ca_file), "nginx")
        yield CannedApi(url, ca_file, [session.id for session in listed], page_targets, process.pid)


def _write_pages(
    directory: Path, name: str, listed: Sequence[Session], writer: SessionWriter
) -> list[str]:
    """Write the pages of a list and an empty last one; return the request targets of those with sessions."""
    targets = []
    for offset in range(0, len(listed) + PAGE_SIZE, PAGE_SIZE - _OVERLAP):
        page = Page(
            path="/v8/RestoreSessions",
            query="",
            offset=offset,
            limit=PAGE_SIZE,
            more=offset + PAGE_SIZE < len(listed),
        )
        records = listed[offset : offset + PAGE_SIZE]
        (directory / f"{name}-{offset}.json").write_text(
            page.text([writer.record(session, "v8", listed=True) for session in records])
        )
        if records:
            targets.append(f"/v8/RestoreSessions?offset={offset}&limit={PAGE_SIZE}")
    return targets


def _answers(url: str, ca_file: Path) -> bool:
    try:
        return requests.get(f"{url}/ready", verify=str(ca_file), timeout=30).ok
    except requests.ConnectionError:
        return False


def _write_configuration(directory: Path, port: int, latency_seconds: float, one: str) -> None:
    authority = trustme.CA()
    leaf = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(str(directory / "ca.pem"))
    leaf.cert_chain_pems[0].write_to_path(str(directory / "server.crt"))
    leaf.private_key_pem.write_to_path(str(directory / "server.key"))
    sleep = f"echo_sleep {latency_seconds}; " if latency_seconds else ""
    (directory / "nginx.conf").write_text(f"""
daemon off; master_process off; pid nginx.pid;
load_module {_ECHO_MODULE};
events {{ worker_connections 1024; }}
http {{
  access_log off; default_type application/json; keepalive_requests 1000000; tcp_nodelay on;
  client_body_temp_path tmp; proxy_temp_path tmp; fastcgi_temp_path tmp; uwsgi_temp_path tmp; scgi_temp_path tmp;
  open_file_cache max=1000;
  map $arg_startTimeFrom $pages {{ "" page; default recent; }}
  server {{
    listen 127.0.0.1:{port} ssl backlog=512;
    ssl_certificate server.crt; ssl_certificate_key server.key;
    location = /ready {{ return 200 '{{}}'; }}
    location = /v8/ServiceInstance {{ return 200 '{_INSTANCE}'; }}
    location = /v8/Organizations {{ return 200 '{_ORGANIZATIONS}'; }}
    location = /v8/RestoreSessions {{ {sleep}echo_exec @page; }}
    location @page {{ root {directory}; rewrite ^ /$pages-$arg_offset.json break; }}
    location ~ ^/v8/RestoreSessions/(?<id>[0-9a-f-]+)$ {{ {sleep}echo -n '{_escaped(one)}'; }}
  }}
}}
""")


def _escaped(text: str) -> str:
    """Escape text for nginx's single quotes; variables stay variables."""
    return text.replace("\\", "\\\\").replace("'", "\\'")
