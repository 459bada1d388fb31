"""What the events of a process go to, as its settings say: a gateway of its own, or one elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

from otel_events.gateway.state import Timing
from otel_events.inprocess.faults import faults
from otel_events.model.errors import ConfigError
from otel_events.model.event import AnyEvent

GATEWAY = "OTEL_EVENTS_GATEWAY"
TAGS = "OTEL_EVENTS_STAT_TAGS"


class Settings(msgspec.Struct, frozen=True):
    """As configured; what a child process needs to take the place of its parent."""

    journal: Path
    """Its file; in a temporary folder where none was named."""
    temporary: bool
    gateway: str
    timing: Timing
    environ: Mapping[str, str]


class Sending(Protocol):
    """What events go to in the process that sends."""

    def take(self, events: Sequence[AnyEvent]) -> object: ...
    def tick(self) -> None: ...
    def dropped(self, count: int) -> None: ...
    def hurry(self, seconds: float) -> None: ...
    def abort(self) -> None: ...
    def finish(self, seconds: float) -> str: ...


class ToCollector:
    """A gateway of this process's own."""

    def __init__(self, gateway: Any) -> None:
        self._gateway = gateway
        gateway.start_threads()
        self._faults: dict[str, int] = {}

    def take(self, events: Sequence[AnyEvent]) -> None:
        self._gateway.offer("python", events)

    def tick(self) -> None:
        self._count_faults()
        self._gateway.tick()

    def dropped(self, count: int) -> None:
        self._gateway.dropped("queue_full", count)

    def _count_faults(self) -> None:
        for what, count in faults().items():
            if more := count - self._faults.get(what, 0):
                self._gateway.faulted(what, more)
                self._faults[what] = count

    def hurry(self, seconds: float) -> None:
        """Nothing of it waits for the other side before ``finish``."""

    def abort(self) -> None:
        """As above."""

    def finish(self, seconds: float) -> str:
        end = time.monotonic() + seconds
        with contextlib.suppress(Exception):
            self._count_faults()
            self._gateway.settle()
        left = self._gateway.drain_and_close(max(0.0, end - time.monotonic()))
        return f"telemetry of {left.commits} commits was not sent: {left.reason}" if left.commits else ""


def sending(settings: Settings, forked: bool = False) -> Sending:
    """Raises JournalError, also where another process holds the journal, and ConfigError."""
    settings.journal.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if settings.gateway:
        from otel_events.inprocess.client import ToGateway  # loaded by who has a gateway elsewhere

        return ToGateway.open(settings.gateway, None if settings.temporary else settings.journal, settings.environ)
    from otel_events.gateway.gateway import Gateway  # loaded by the one process that needs it
    from otel_events.gateway.settings import GatewayConfig
    from otel_events.otlp import from_env

    config = from_env(settings.environ)
    if forked and "grpc" in sys.modules and any(one.protocol == "grpc" for one in config.endpoints.values()):
        raise ConfigError(
            "the process that sent for this one has ended, and gRPC hangs in forked processes: set "
            "OTEL_EXPORTER_OTLP_PROTOCOL to http/protobuf, or OTEL_EVENTS_GATEWAY"
        )
    tags = tuple(filter(None, map(str.strip, settings.environ.get(TAGS, "").split(","))))
    made = GatewayConfig(journal=settings.journal, otlp=config, timing=settings.timing, stat_tags=tags)
    return ToCollector(Gateway.open(made))
