"""What the events of a process go to, as its settings say: a gateway in this process, or one elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Sequence
from typing import Any, Protocol

from otel_events.inprocess.faults import faults
from otel_events.inprocess.settings import TAGS, Settings
from otel_events.model.errors import ConfigError
from otel_events.model.event import AnyEvent


class Destination(Protocol):
    """What events go to in the process that sends. ``abort`` is called by any thread, the others by one at a time."""

    def take(self, events: Sequence[AnyEvent]) -> object:
        """Accept events; an error means that the same events are offered again."""

    def tick(self) -> None:
        """Do what is due; called a few times a second."""

    def dropped(self, count: int) -> None:
        """Count events that had no room in the queue."""

    def hurry(self, seconds: float) -> None:
        """Let what is under way end within ``seconds``."""

    def abort(self) -> None:
        """End what is under way now."""

    def finish(self, seconds: float) -> str:
        """Send the rest within ``seconds``, and close; why something is left, or ""."""


class LocalGateway:
    """A gateway in this process, which sends to a collector."""

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
        """Nothing waits for the collector before ``finish``: events are taken by a journal on disk."""

    def abort(self) -> None:
        """Nothing waits for the collector before ``finish``."""

    def finish(self, seconds: float) -> str:
        end = time.monotonic() + seconds
        with contextlib.suppress(Exception):
            self._count_faults()
            self._gateway.settle()
        left = self._gateway.drain_and_close(max(0.0, end - time.monotonic()))
        return f"telemetry of {left.commits} commits was not sent: {left.reason}" if left.commits else ""


def open_destination(settings: Settings, forked: bool = False) -> Destination:
    """Open what the events of this process go to.

    Args:
        settings: As configured.
        forked: Whether this process is a fork of the one that sent before.

    Returns:
        A gateway in this process, or a client of the one that the settings name.

    Raises:
        JournalError: The journal cannot be used, or another process holds it.
        ConfigError: A variable has a value that cannot be used.
    """
    settings.journal.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if settings.gateway:
        from otel_events.inprocess.client import RemoteGateway  # urllib3, which only a gateway elsewhere needs

        return RemoteGateway.open(settings.gateway, None if settings.temporary else settings.journal, settings.environ)
    return _local_gateway(settings, forked)


def _local_gateway(settings: Settings, forked: bool) -> LocalGateway:
    # The fold and the senders, which only the one process that sends needs: children hand their events over.
    from otel_events.gateway.gateway import Gateway  # see above
    from otel_events.gateway.settings import GatewayConfig  # see above
    from otel_events.otlp import from_env  # see above

    otlp = from_env(settings.environ)
    if forked and "grpc" in sys.modules and any(endpoint.protocol == "grpc" for endpoint in otlp.endpoints.values()):
        raise ConfigError(
            "the process that sent for this one has ended, and gRPC hangs in forked processes: set "
            "OTEL_EXPORTER_OTLP_PROTOCOL to http/protobuf, or OTEL_EVENTS_GATEWAY"
        )
    tags = tuple(filter(None, map(str.strip, settings.environ.get(TAGS, "").split(","))))
    config = GatewayConfig(journal=settings.journal, otlp=otlp, timing=settings.timing, stat_tags=tags)
    return LocalGateway(Gateway.open(config))
