"""The gateway as a process: bind, serve until SIGTERM or SIGINT, drain."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import uvicorn
from starlette.routing import BaseRoute
from starlette.types import ASGIApp

from otel_events.gateway.gateway import Gateway, Unsent
from otel_events.model.errors import ConfigError
from otel_events.server.app import create
from otel_events.server.auth import Access
from otel_events.server.ingest import Limits
from otel_events.server.protocol import timed

SHUTDOWN = 3
"""Seconds that requests under way get to end, before the gateway drains."""


def bind(host: str, port: int, option: str = "--port") -> socket.socket:
    """A listening socket; ConfigError says why not, and what to do. Port 0: any free one. ``option``: its name."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ConfigError(
            f"--host {host} {option} {port}: {error.strerror}: name an address of this machine"
        ) from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(2048)
    except OSError as error:
        listener.close()
        raise ConfigError(f"cannot listen on {host}:{port} ({error.strerror}): choose another {option}") from error
    return listener


def url(host: str, port: int) -> str:
    """The address to be told."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class Server(uvicorn.Server):
    """uvicorn without its habit of raising the signal once more at the end: the journal is to be drained after it."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():  # Python lets only that one set handlers
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def server(
    gateway: Gateway,
    rules: Access,
    limits: Limits = Limits(),  # noqa: B008 - immutable
    more: Sequence[BaseRoute] = (),
) -> Server:
    """The HTTP server over a gateway, ready for ``run(sockets=[...])``."""
    return _server(create(gateway, rules, limits, more), limits)


def _server(app: ASGIApp, limits: Limits) -> Server:
    config = uvicorn.Config(
        app,
        http=timed(limits.header_time),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=limits.connections,
        timeout_keep_alive=limits.idle_time,  # type: ignore[arg-type]  # loop.call_later takes fractions
        timeout_graceful_shutdown=SHUTDOWN,
        h11_max_incomplete_event_size=limits.header,
    )
    return Server(config)


class Beside(NamedTuple):
    """Another application to be served by the same process, on a port of its own."""

    app: ASGIApp
    listener: socket.socket
    limits: Limits


@contextmanager
def _answering(beside: Sequence[Beside]) -> Iterator[None]:
    """Serve these, each in a thread of its own, until the end of ``with``; then requests under way get to end."""
    servers = [(_server(service.app, service.limits), service.listener) for service in beside]
    threads = [threading.Thread(target=server.run, kwargs={"sockets": [listener]}) for server, listener in servers]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for server, _ in servers:
            server.should_exit = True
        for thread in threads:
            thread.join()


def run(
    gateway: Gateway,
    listener: socket.socket,
    rules: Access,
    drain: float,
    limits: Limits = Limits(),  # noqa: B008 - immutable
    started: Callable[[], None] = lambda: None,
    more: Sequence[BaseRoute] = (),
    beside: Sequence[Beside] = (),
) -> Unsent:
    """Serve on ``listener`` until a signal, then drain for at most ``drain`` seconds. Returns what is left to send."""
    gateway.start()
    try:
        with _answering(beside):
            started()
            server(gateway, rules, limits, more).run(sockets=[listener])
    finally:
        listener.close()
        left = gateway.drain_and_close(drain)
    return left
