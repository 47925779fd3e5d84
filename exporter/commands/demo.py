"""`--demo`: run the exporter against a built-in simulated VB365; no server or configuration needed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress

from exporter.config import Config, parse_config
from exporter.simulator import Simulator
from exporter.system.files import OutputError, write_stdout

# The simulator's certificate is verified like a real one, so the demo uses the configuration a user would write. Only
# the path of the certificate needs quotes: a directory may have any name.
_CONFIGURATION = """\
poll_interval: 2s
servers:
  - name: demo
    url: {url}
    auth:
      username: {username}
      password: {password}
    tls_config:
      ca_file: {ca_file}
    sessions:
      extras: [statistics, events]
"""

_NEXT_STEPS = """\
The demo has ended. Next, for your own server:
  1. Write a config.yaml; config.example.yaml explains every key.
  2. Validate it:  vb365-restore-exporter --config.file=config.yaml --config.check
  3. Run it:       vb365-restore-exporter --config.file=config.yaml
README.md describes how to install the command, and docs/vb365.md how to prepare the server.
"""


@contextmanager
def demo_config() -> Iterator[Config]:
    """Run a simulator on a loopback address and yield the configuration for it.

    Raises:
        OutputError: the simulator cannot write its certificate, or cannot listen.
    """
    simulator = Simulator()
    try:
        simulator.start()
    except OSError as error:
        raise OutputError(
            f"the demo cannot start: {error.strerror or error}; it needs a writable temporary directory, which TMPDIR "
            "can name, and a free port on 127.0.0.1"
        ) from None
    with closing(simulator):
        yield parse_config(
            _CONFIGURATION.format(
                url=simulator.url,
                username=simulator.username,
                password=simulator.password,
                ca_file=json.dumps(str(simulator.ca_file)),
            ),
            directory=simulator.ca_file.parent,
        )


@contextmanager
def demo(telemetry_path: str) -> Iterator[tuple[Callable[[], Config], Callable[[str], None]]]:
    """Run a simulator; yield a function that returns the configuration for it, and a callback for the exporter's base URL.

    The callback prints the demo's URLs; then the next steps follow at the end.

    Raises:
        OutputError: as for `demo_config`.
    """
    serving = False
    with demo_config() as config:

        def print_urls(url: str) -> None:
            nonlocal serving
            serving = True
            _print(
                "The demo polls a simulated VB365 every 2 s; restore sessions start, run and end as you watch.\n"
                f"  metrics          {url}{telemetry_path}\n"
                f"  status page      {url}/\n"
                f"  simulated VB365  {config.servers[0].url}\n"
                "Press Ctrl-C to stop.\n"
            )

        yield lambda: config, print_urls
    if serving:
        _print(_NEXT_STEPS)


def _print(text: str) -> None:
    with suppress(OutputError):  # nobody reads it
        write_stdout([text.encode()])
