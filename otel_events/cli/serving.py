"""What ``serve`` does once its options are read: open, answer and poll until a signal, tell how it ended."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from socket import socket

import msgspec
from starlette.routing import BaseRoute

from otel_events.clearml_server import options as clearml
from otel_events.cli.common import say
from otel_events.gateway.gateway import Gateway, GatewayConfig, Unsent
from otel_events.gateway.poll import Poll
from otel_events.inprocess.structured import line_writer
from otel_events.server import metadata, ray
from otel_events.server.auth import Access
from otel_events.server.run import run, url
from otel_events.sources.source import Readers


class Plan(msgspec.Struct, frozen=True):
    """What is to be done, from the options. ``poll``, ``drain`` in seconds."""

    config: GatewayConfig
    rules: Access
    console: str
    drain: float
    readers: Readers
    poll: float
    clearml: clearml.Options


def serve_until_signal(plan: Plan, listener: socket) -> Unsent:
    """Serve and poll; what is left to send. ConfigError, JournalError, StoreError."""
    gateway = opened(plan.config, plan.console)
    try:
        with clearml.opened(plan.clearml, plan.rules.host, plan.config.journal, gateway, os.environ) as beside:
            polling = Poll(gateway, plan.readers.polled, plan.poll)
            host, port = plan.rules.host, listener.getsockname()[1]
            listening = f"listening on {url(host, port)}, journal {plan.config.journal}{clearml.ports(beside)}"
            more = endpoints(gateway, plan.config.journal, plan.readers)
            try:
                return run(
                    gateway, listener, plan.rules, plan.drain,
                    started=lambda: begin(polling, listening), more=more, beside=beside,
                )  # fmt: skip
            finally:
                polling.stop()
    finally:
        gateway.drain_and_close(0)  # where nothing was served; else it has been closed


def opened(config: GatewayConfig, console: str) -> Gateway:
    """The gateway, which writes its events to the console too where that is asked for."""
    gateway = Gateway.open(config)
    if console != "off":
        gateway.tell(line_writer(json=console == "json"))
    return gateway


def log_to_stderr() -> None:
    """Warnings and worse, a line each."""
    line = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format=line)


def begin(polling: Poll, text: str) -> None:
    """Say that the gateway is up, and poll from now on."""
    say(text)
    polling.start()


def endpoints(gateway: Gateway, journal: Path, readers: Readers) -> list[BaseRoute]:
    """Routes of sources and queries that have endpoints of their own."""
    return [*ray.routes(gateway), *metadata.routes(journal, readers.storages)]


def ended(left: Unsent) -> str:
    """The last line: whether all was sent."""
    if not left.commits:
        return "stopped; all telemetry was sent"
    unsent = f"stopped; telemetry of {left.commits:,} commits is not sent yet, the next start sends it"
    return f"{unsent} ({left.reason})" if left.reason else unsent
