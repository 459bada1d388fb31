"""The gateway's HTTP interface: records in, metrics and health out. Answers are JSON but for /metrics.

| | answers |
|---|---|
| POST /v1/events, POST /cloudevents | 200 {accepted, duplicates, refused: [{where, reason}], refused_count}; 400 when all of it was refused; 503 with Retry-After when the journal took nothing: send the same again |
| POST /ray/v1/events | 200 {the same} once kept, decoded or not; 503 when the journal took nothing (server/ray.py) |
| GET /metrics | the exposition, by Accept |
| GET /healthz | 200 while the process answers |
| GET /readyz | 200, or 503 with reasons while records would not be taken |
"""  # noqa: E501 - a table row is one line

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby, islice

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from otel_events.gateway.gateway import Gateway
from otel_events.intake.records import Record, Refused
from otel_events.model.errors import ConfigError, JournalError
from otel_events.server.answers import Taken, answer, problem
from otel_events.server.auth import TRUSTED, Access, Guard
from otel_events.server.ingest import (
    LINES_TYPES,
    Budget,
    Limits,
    cloud_events,
    event_records,
    media_type,
    read_body,
)

log = logging.getLogger("otel_events.server")

BATCH = 1_000
"""Records a journal transaction."""
RETRY_AFTER = "5"
"""Seconds: the gateway looks after its journal more often than that."""

Routed = tuple[str, Record | Refused]


class Api:
    """The endpoints over one gateway. ``gateway`` is called in threads: its journal writes and fsyncs."""

    def __init__(self, gateway: Gateway, limits: Limits) -> None:
        self._gateway, self._limits = gateway, limits
        self._budget = Budget(limits.in_flight)

    async def events(self, request: Request) -> Response:
        kind = media_type(request.headers)
        if kind not in LINES_TYPES:
            raise HTTPException(415, f"Content-Type {kind[:80]!r}: send {' or '.join(sorted(LINES_TYPES))}")
        with self._budget.held() as held:
            body = await read_body(request, self._limits, held)
            return await self._take(
                lambda: (("events", record) for record in event_records(body, kind, "/v1/events", self._limits))
            )

    async def cloudevents(self, request: Request) -> Response:
        with self._budget.held() as held:
            body = await read_body(request, self._limits, held)
            return await self._take(
                lambda: cloud_events(body.getvalue(), request.headers, "/cloudevents", self._limits)
            )

    async def _take(self, records: Callable[[], Iterator[Routed]]) -> Response:
        taken = await run_in_threadpool(lambda: take(self._gateway, records()))
        return answer(taken.status, taken)

    async def metrics(self, request: Request) -> Response:
        accept = request.headers.get("accept", "")
        body, kind = await run_in_threadpool(self._gateway.exposition, accept)
        return Response(body, headers={"Content-Type": kind, "Vary": "Accept"})

    async def alive(self, request: Request) -> Response:
        return answer(200, {"status": "alive"})

    async def ready(self, request: Request) -> Response:
        health = await run_in_threadpool(self._gateway.health)
        status = {"status": "ready" if health.ready else "not ready"}
        reasons = {"reasons": health.reasons} if request.scope[TRUSTED] else {}
        return answer(200 if health.ready else 503, status | reasons)


def take(gateway: Gateway, records: Iterable[Routed]) -> Taken:
    """Offer records to the gateway, by source and in batches. Raises what the gateway raises; 400 for no records."""
    taken, count = Taken(), 0
    for source, group in groupby(records, key=lambda pair: pair[0]):
        while batch := [record for _, record in islice(group, BATCH)]:
            count += len(batch)
            taken.add(gateway.ingest(source, batch))
    if not count:
        raise HTTPException(400, "no records in the body: send one a line")
    return taken


def create(
    gateway: Gateway,
    rules: Access,
    limits: Limits = Limits(),  # noqa: B008 - immutable
    more: Sequence[BaseRoute] = (),
) -> ASGIApp:
    """The ASGI application; ``more``: routes of sources and queries that have endpoints of their own."""
    api = Api(gateway, limits)
    routes: list[BaseRoute] = [
        *more,
        Route("/v1/events", api.events, methods=["POST"]),
        Route("/cloudevents", api.cloudevents, methods=["POST"]),
        Route("/metrics", api.metrics),
        Route("/healthz", api.alive),
        Route("/readyz", api.ready),
    ]
    handlers = {
        HTTPException: _refused,
        JournalError: _journal,
        ConfigError: _config,
        ClientDisconnect: _gone,
        Exception: _fault,
    }
    app = Starlette(routes=routes, exception_handlers=handlers)  # type: ignore[arg-type]  # handlers by exception type
    app.router.redirect_slashes = False
    return Guard(app, rules)


def _refused(request: Request, error: HTTPException) -> Response:
    texts = {
        404: "nothing here: POST /v1/events, POST /cloudevents, POST /ray/v1/events, GET /metrics, /healthz, /readyz"
    }
    return problem(error.status_code, texts.get(error.status_code, error.detail), error.headers)


def _journal(request: Request, error: JournalError) -> Response:
    log.error("records were not taken: %s", error)
    return problem(503, "the journal cannot be written: send the same again later", {"Retry-After": RETRY_AFTER})


def _config(request: Request, error: ConfigError) -> Response:
    log.error("records were not taken: %s", error)
    return problem(501, str(error))


def _gone(request: Request, error: ClientDisconnect) -> Response:
    return problem(400, "the client closed the connection within the body")


def _fault(request: Request, error: Exception) -> Response:
    # Starlette raises it again after this answer, and uvicorn logs it with its traceback.
    return problem(500, "a fault of the gateway; its log has the details")
