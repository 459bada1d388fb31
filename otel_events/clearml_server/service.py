"""ClearML beside the gateway: either its API over a store, with a file server, or a tee in front of a real server."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import msgspec
from starlette.applications import Starlette
from starlette.types import ASGIApp

from otel_events.clearml_server.api import (
    add,
    app,
    models,
    projects,
    queues,
    services,
    task_parts,
    tasks,
    tee,
    transitions,
)
from otel_events.clearml_server.api.access import COMPANY, KEY_VARIABLE, SECRET_VARIABLE, Access, signing_key
from otel_events.clearml_server.api.base import Endpoint, Service
from otel_events.clearml_server.api.reads import table
from otel_events.clearml_server.files import routes as files
from otel_events.clearml_server.files.folder import Bounds, Folder
from otel_events.clearml_server.store import Keeper, SqliteStore
from otel_events.clearml_server.store import Limits as Retention
from otel_events.gateway.gateway import Gateway
from otel_events.model.errors import ConfigError
from otel_events.server.auth import is_loopback
from otel_events.server.ingest import Limits
from otel_events.server.run import Beside, bind
from otel_events.sources.clearml.decode import AnsweredCall, parsed_record

log = logging.getLogger("otel_events.clearml")

SOURCE = "clearml"
LIMITS = Limits(idle_time=30.0, connections=512)
"""A client keeps several connections open and calls every few seconds, so more connections than elsewhere."""
ENDPOINTS: tuple[Endpoint, ...] = (
    *(*add.ENDPOINTS, *table.ENDPOINTS, *tasks.ENDPOINTS, *task_parts.ENDPOINTS),
    *(*transitions.ENDPOINTS, *projects.ENDPOINTS, *models.ENDPOINTS, *queues.ENDPOINTS),
    *services.ENDPOINTS,
)


class Settings(msgspec.Struct, frozen=True):
    """Addresses to listen on, and places to store in. ``credentials``: secret by key. ``age``: seconds after which
    events and files are deleted, None for never. Sizes are in bytes."""

    host: str
    port: int
    files_port: int
    store: Path
    files: Path
    credentials: Mapping[str, str] = {}
    upstream: str = ""
    """The API server to stand in front of, instead of being one."""
    age: float | None = None
    store_bytes: int = 10 << 30
    files_bytes: int = 10 << 30

    def __repr__(self) -> str:
        return f"Settings(host={self.host!r}, port={self.port}, store={str(self.store)!r})"


@contextmanager
def opened(settings: Settings, gateway: Gateway) -> Iterator[list[Beside]]:
    """Open what is to be served beside the gateway; it is closed at the end of ``with``.

    Args:
        settings: Addresses, places and limits.
        gateway: Takes the calls that change runs.

    Raises:
        ConfigError: An address or a folder cannot be used, or credentials are missing.
        StoreError: The store cannot be opened.
    """
    with ExitStack() as stack:
        listener = stack.enter_context(bind(settings.host, settings.port, "--clearml-port"))
        if settings.upstream:
            yield [Beside(Starlette(routes=tee.routes(settings.upstream, gateway)), listener, LIMITS)]
            return
        files_listener = stack.enter_context(bind(settings.host, settings.files_port, "--clearml-files-port"))
        api, file_server = stack.enter_context(_stores(settings, gateway))
        yield [Beside(api, listener, LIMITS), Beside(file_server, files_listener, LIMITS)]


@contextmanager
def _stores(settings: Settings, gateway: Gateway) -> Iterator[tuple[ASGIApp, ASGIApp]]:
    """The API and the file server over their store and folder, while threads apply the limits."""
    host = settings.host
    if not settings.credentials and not is_loopback(host):
        danger = f"--host {host} lets other machines log in, and no credentials are set: "
        raise ConfigError(f"{danger}set {KEY_VARIABLE} and {SECRET_VARIABLE}, or --clearml-credentials FILE")
    folder = Folder(settings.files, Bounds(total=settings.files_bytes))
    with closing(SqliteStore(settings.store, max_bytes=settings.store_bytes)) as store:
        access = Access(settings.credentials, signing_key(store.documents))
        service = Service(
            store.documents,
            store.events,
            store.retention,
            COMPANY,
            app.now_ms,
            time.monotonic,
            offering(gateway),
            refused=lambda events: gateway.dropped("clearml_refused", events),
        )
        with _retaining(settings, gateway, store, folder):
            yield app.create(service, access, ENDPOINTS, host, LIMITS), files.create(folder, access, host, LIMITS)


@contextmanager
def _retaining(settings: Settings, gateway: Gateway, store: SqliteStore, folder: Folder) -> Iterator[None]:
    age = None if settings.age is None else int(settings.age * 1000)
    limits = Retention(max_age_ms=age, max_bytes=settings.store_bytes)
    threads: list[Keeper | files.Sweeper] = [
        Keeper(store.retention, limits, removed=lambda reason, events: gateway.dropped(f"clearml_{reason}", events))
    ]
    if settings.age is not None:
        threads.append(files.Sweeper(folder, settings.age))
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for thread in threads:
            thread.stop()


def offering(gateway: Gateway) -> Callable[[AnsweredCall], None]:
    """A function that takes a call which changed something. The journal has it on disk when the function returns;
    otherwise it raises JournalError."""

    def offer(call: AnsweredCall) -> None:
        gateway.ingest_parsed(SOURCE, [parsed_record(call)])

    return offer
