"""`python -m exporter.simulator`: serve a simulated VB365 API until interrupted."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from threading import Event

from exporter.simulator.api.routes import API_VERSIONS
from exporter.simulator.faults.catalogue import CATALOGUE
from exporter.simulator.faults.registry import ROUTES
from exporter.simulator.server import Simulator
from exporter.simulator.world.world import World, accelerated_clock

_WAKE_SECONDS = 1.0  # on Windows Ctrl-C is handled only between waits


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not (port.isascii() and port.isdecimal()) or int(port) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form host:port")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _versions(text: str) -> tuple[str, ...]:
    versions = tuple(version.strip() for version in text.split(","))
    for version in versions:
        if version not in API_VERSIONS:
            raise argparse.ArgumentTypeError(f"unknown API version {version!r}")
    return versions


def _not_negative(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text} is negative")
    return number


def _speed(text: str) -> float:
    speed = float(text)
    if not 0 < speed < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return speed


def _parser() -> argparse.ArgumentParser:
    names = "\n".join(f"  {name:<24}{fault.help}" for name, fault in CATALOGUE.items())
    parser = argparse.ArgumentParser(
        prog="python -m exporter.simulator",
        description="Serve a simulated VB365 API over TLS.",
        epilog=f"routes: {', '.join(ROUTES)}\n\nfaults:\n{names}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add(
        "--web.listen-address",
        dest="address",
        type=_address,
        default="127.0.0.1:4443",
        metavar="HOST:PORT",
        help="address to listen on (default: %(default)s)",
    )
    add("--username", default="demo", help="name of the only account (default: %(default)s)")
    add("--password", default="demo", help="password of the account (default: %(default)s)")
    add(
        "--tls.ca-file",
        dest="ca_file",
        type=Path,
        metavar="FILE",
        help="write the generated authority's certificate to this file, for the client's ca_file",
    )
    add(
        "--tls.cert-file",
        dest="cert_file",
        type=Path,
        metavar="FILE",
        help="certificate chain to serve (default: generated at start)",
    )
    add(
        "--tls.key-file",
        dest="key_file",
        type=Path,
        metavar="FILE",
        help="private key of the certificate",
    )
    add("--seed", type=int, default=1, help="seed of the simulated world (default: %(default)s)")
    add(
        "--speed",
        type=_speed,
        default=1.0,
        help="simulated seconds per second; token lifetimes and rate limits use real time"
        " (default: %(default)s)",
    )
    add(
        "--organizations",
        type=_not_negative,
        default=4,
        metavar="N",
        help="organizations that restore; another one never does (default: %(default)s)",
    )
    add(
        "--sessions",
        type=_not_negative,
        default=200,
        metavar="N",
        help="finished sessions in its history at start (default: %(default)s)",
    )
    add(
        "--api-versions",
        type=_versions,
        default="v6,v7,v8",
        metavar="LIST",
        help="API versions to serve (default: %(default)s)",
    )
    add(
        "--product-version",
        metavar="VERSION",
        help="version of the product (default: one that serves the API versions)",
    )
    add(
        "--token-style",
        choices=("auto", "owin", "core"),
        default="auto",
        help="style of token responses; auto: owin for v6, core for v7 and v8",
    )
    add(
        "--working-end",
        choices=("sentinel", "null", "absent"),
        default="sentinel",
        help="endTime of running sessions (default: %(default)s)",
    )
    add(
        "--token-throttle",
        action="store_true",
        help="apply the token endpoint's rate limits (1/s, 5/min, 1500/h) on loopback, too",
    )
    add(
        "--fault",
        action="append",
        default=[],
        dest="faults",
        metavar="NAME[:ROUTE]",
        help="set a fault at start, for one route or for those that it usually affects; repeatable",
    )
    return parser


def main(arguments: Sequence[str] | None = None, stop: Event | None = None) -> int:
    """Run the simulator until SIGINT, SIGTERM or `stop`; return the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if (options.cert_file is None) != (options.key_file is None):
        parser.error("--tls.cert-file and --tls.key-file must be given together")
    if options.cert_file is not None and options.ca_file is not None:
        parser.error("--tls.ca-file: no authority is generated with --tls.cert-file")
    host, port = options.address
    simulator = Simulator(
        World(
            seed=options.seed,
            organizations=options.organizations,
            sessions=options.sessions,
            clock=accelerated_clock(options.speed),
        ),
        host=host,
        port=port,
        username=options.username,
        password=options.password,
        api_versions=options.api_versions,
        product_version=options.product_version,
        token_style=options.token_style,
        token_throttle=options.token_throttle,
        working_end=options.working_end,
        cert_file=options.cert_file,
        key_file=options.key_file,
        ca_file=options.ca_file,
    )
    for fault in options.faults:
        name, _, route = fault.partition(":")
        try:
            simulator.faults.set(name, route=route or None)
        except ValueError as error:
            parser.error(f"--fault: {error}")
    if stop is None:
        stop = _stop_on_signals()
    try:
        simulator.start()
    except OSError as error:
        sys.stderr.write(f"cannot start: {error}\n")
        return 1
    try:
        sys.stdout.write(_greeting(simulator))
        sys.stdout.flush()
        while not stop.wait(_WAKE_SECONDS):
            pass
    finally:
        simulator.close()
    return 0


def _greeting(simulator: Simulator) -> str:
    return (
        f"VB365 simulator: {simulator.url}\n"
        f"  username {simulator.username}, password {simulator.password}\n"
        f"  ca_file  {simulator.ca_file}\n"
        f"  truth    {simulator.url}/_simulator/truth\n"
    )


def _stop_on_signals() -> Event:
    stop = Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    return stop


if __name__ == "__main__":
    sys.exit(main())
