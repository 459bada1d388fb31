"""A real gateway behind a real uvicorn on loopback, and a client for it."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import msgspec
from starlette.routing import BaseRoute

from otel_events.gateway.gateway import Gateway, GatewayConfig
from otel_events.model.event import PhaseChange, Run
from otel_events.server import ray
from otel_events.server.auth import Access
from otel_events.server.ingest import Limits
from otel_events.server.run import bind, server
from tests.patience import PATIENCE

NDJSON = {"Content-Type": "application/x-ndjson"}
START = 1_790_000_000_000_000_000


def event(number: int, phase: str = "running") -> bytes:
    """One of our events as JSON; ``number`` makes its id."""
    run = Run("batch", "task", "nightly/1/train", name="train", root="nightly/1", workflow="nightly")
    made = PhaseChange(id=f"event-{number}", time=START + number, run=run, phase=phase, native=phase)
    return msgspec.json.encode(made)


def events(*numbers: int) -> bytes:
    return b"\n".join(event(number) for number in numbers)


@contextmanager
def gateway(path: Path) -> Iterator[Gateway]:
    """A gateway over a journal of its own that sends nothing."""
    made = Gateway.open(GatewayConfig(journal=path, otlp=None))
    try:
        yield made
    finally:
        made.drain_and_close(0)


def bounds(**more: Any) -> Limits:
    """Those of a server, but for the times, which no client reaches on however slow a machine; and ``more``."""
    return Limits(**({"body_time": PATIENCE, "header_time": PATIENCE, "idle_time": PATIENCE} | more))


class Served:
    """The address of a running server, and ways to talk to it."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=PATIENCE)

    def post(self, body: bytes, path: str = "/v1/events", **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.http.post(path, content=body, headers=NDJSON | named if path == "/v1/events" else named)

    def cloudevents(self, body: bytes, headers: dict[str, str]) -> httpx.Response:
        return self.http.post("/cloudevents", content=body, headers=headers)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)

    def raw(self, request: bytes) -> bytes:
        """What comes back for these bytes until the server closes the connection."""
        with self.connect() as connection:
            with suppress(ConnectionError):  # it has closed it before: on a slow machine these bytes are late
                connection.sendall(request)
            return rest(connection)


def rest(connection: socket.socket) -> bytes:
    """All that comes until the other side closes, in whichever way."""
    found = b""
    with suppress(ConnectionError):
        while chunk := connection.recv(65_536):
            found += chunk
    return found


def body_of(answer: bytes) -> Any:
    """The JSON body of a raw answer."""
    return json.loads(answer.partition(b"\r\n\r\n")[2])


@contextmanager
def serving(
    over: Gateway,
    rules: Access = Access(),  # noqa: B008 - immutable
    limits: Limits = bounds(),  # noqa: B008 - immutable
    more: Sequence[BaseRoute] = (),
) -> Iterator[Served]:
    """A server on a free port, as ``run()`` makes it, in a thread of this process."""
    listener = bind("127.0.0.1", 0)
    running = server(over, rules, limits, more=[*ray.routes(over, limits), *more])
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]})
    thread.start()
    served = Served(listener.getsockname()[1])
    try:
        yield served
    finally:
        served.http.close()
        running.should_exit = True
        thread.join(PATIENCE)
        listener.close()
        assert not thread.is_alive()
