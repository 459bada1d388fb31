"""The ASGI application of the API: it finds the endpoint, checks the caller and the fields, and answers in ClearML's
envelope.

Endpoints run in threads, because the store reads and fsyncs. A call that changed a run is offered to the gateway before
it is answered, so that an answer means that the call is on disk.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from otel_events.clearml_server.api import wire
from otel_events.clearml_server.api.access import COOKIE, LIFE, Access
from otel_events.clearml_server.api.base import ApiError, Attachment, Call, Endpoint, Service, Version, checked
from otel_events.model.errors import OtelEventsError
from otel_events.server.answers import problem
from otel_events.server.auth import is_loopback
from otel_events.server.ingest import Budget, Limits, read_body
from otel_events.sources.clearml.decode import AnsweredCall

log = logging.getLogger("otel_events.clearml")

METHODS = ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"]
LOGIN = "auth.login"
SINCE: Version = (1, 0)
"""The version of the login."""
WORKER_HEADERS = ("x-clearml-worker", "x-trains-worker")


class Table:
    """The endpoints by name, newest version first."""

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        self._rows: dict[str, list[Endpoint]] = {}
        for endpoint in endpoints:
            self._rows.setdefault(endpoint.name, []).append(endpoint)
        for rows in self._rows.values():
            rows.sort(key=lambda row: row.version, reverse=True)

    def find(self, name: str, version: Version) -> Endpoint | None:
        """The row with the highest version that is not above the requested one."""
        return next((row for row in self._rows.get(name, ()) if row.version <= version), None)


class Api:
    """One application over one service."""

    def __init__(self, service: Service, access: Access, table: Table, limits: Limits) -> None:
        self._service, self._access, self._table, self._limits = service, access, table, limits
        self._budget = Budget(limits.in_flight)

    async def handle(self, request: Request) -> Response:
        """The answer to a request; errors of the API are answered in the envelope too."""
        at: wire.Target | None = None
        row: Endpoint | None = None
        try:
            if request.headers.get("content-encoding", "identity") != "identity":
                return PlainTextResponse("Content-Encoding is not supported: send the body as it is", 415)
            at = wire.target(request.url.path)
            row = self._table.find(at.name, at.number)
            if at.name == LOGIN:
                return self._login(request, at)
            if row is None:
                raise ApiError(404, 0, f"Unable to find endpoint for name {at.name} and version {at.version}")
            return await self._answer(request, at, row)
        except ApiError as error:
            actual = row.version if row else SINCE if at is not None and at.name == LOGIN else None
            body = wire.envelope(at, actual, {}, error)
            return Response(body, error.code, media_type="application/json")

    def _login(self, request: Request, at: wire.Target) -> Response:
        authorization = request.headers.get("authorization", "")
        if not authorization:
            authorization = f"Bearer {request.cookies.get(COOKIE, '')}" if COOKIE in request.cookies else ""
        if not authorization:
            raise ApiError(401, 20, "Unauthorized (missing credentials)")
        _, token = self._access.login(authorization)
        answer = Response(wire.envelope(at, SINCE, {"token": token}), media_type="application/json")
        answer.set_cookie(COOKIE, token, max_age=LIFE, httponly=True, samesite="strict")
        return answer

    async def _answer(self, request: Request, at: wire.Target, row: Endpoint) -> Response:
        user = self._access.user(request.headers.get("authorization", ""), request.headers.get("cookie", ""))
        with self._budget.held() as held:
            body = (await read_body(request, self._limits, held)).getvalue()
            call = Call(at.name, at.number, {}, user=user.id)
            call.worker = next(
                (request.headers[name] for name in WORKER_HEADERS if name in request.headers), call.worker
            )
            as_lines = request.headers.get("content-type", "").strip() == wire.LINES
            return await run_in_threadpool(self._work, at, row, call, body, as_lines, request.url.query)

    def _work(self, at: wire.Target, row: Endpoint, call: Call, body: bytes, as_lines: bool, query: str) -> Response:
        data: dict[str, Any] = wire.arguments(query)
        if as_lines:
            call.lines = wire.lines(body)
        else:
            data = wire.fields(body) | data
        call.now_ms, call.company = self._service.now_ms(), self._service.company
        call.data = checked(row.fields, data)
        answer = row.answer(self._service, call)
        if isinstance(answer, Attachment):
            return _download(answer)
        if row.records:
            self._offer(at, call, data, answer)
        return Response(wire.envelope(at, row.version, answer), media_type="application/json")

    def _offer(self, at: wire.Target, call: Call, data: dict[str, Any], answer: Mapping[str, Any]) -> None:
        body = {"events": call.lines} if call.lines is not None else data
        self._service.offer(AnsweredCall(call.now_ms / 1000, at.name, body, answer, at.version, call.worker))


def _download(file: Attachment) -> Response:
    headers = {"Content-Disposition": f'attachment; filename="{file.name}"', "Cache-Control": "no-store"}
    return StreamingResponse(file.pieces, media_type=file.media_type, headers=headers)


def create(
    service: Service,
    access: Access,
    endpoints: Iterable[Endpoint],
    host: str = "127.0.0.1",
    limits: Limits = Limits(),  # noqa: B008 - immutable
) -> ASGIApp:
    """The application.

    Args:
        service: What answers rest on.
        access: Who may call.
        endpoints: The rows of all endpoints.
        host: The address that is bound. On loopback, other names in ``Host`` are refused: otherwise a web page could
            reach the API through a name that it lets point to 127.0.0.1.
        limits: Bytes of a body, and of all bodies together.
    """
    api = Api(service, access, Table(endpoints), limits)

    async def guarded(request: Request) -> Response:
        name = request.url.hostname or ""
        if is_loopback(host) and name and not is_loopback(name) and "authorization" not in request.headers:
            return problem(403, "the Host header names another machine: ask for localhost or 127.0.0.1")
        return await api.handle(request)

    handlers = {HTTPException: _refused, OtelEventsError: _unkept, ClientDisconnect: _gone, Exception: _fault}
    app = Starlette(
        routes=[Route("/{path:path}", guarded, methods=METHODS)],
        middleware=[Middleware(GZipMiddleware, minimum_size=1000, compresslevel=4)],
        exception_handlers=handlers,  # type: ignore[arg-type]  # handlers by exception type
    )
    app.router.redirect_slashes = False
    return app


def _failed(code: int, message: str) -> Response:
    return Response(wire.envelope(None, None, {}, ApiError(code, 0, message)), code, media_type="application/json")


def _refused(request: Request, error: HTTPException) -> Response:
    return _failed(error.status_code, str(error.detail))


def _unkept(request: Request, error: OtelEventsError) -> Response:
    log.error("a call was not stored: %s", error)
    return _failed(503, "this could not be written: send the same again later")


def _gone(request: Request, error: ClientDisconnect) -> Response:
    return _failed(400, "the client closed the connection within the body")


def _fault(request: Request, error: Exception) -> Response:
    return _failed(500, "a fault of the gateway; its log has the details")


def now_ms() -> int:
    """The wall clock, epoch milliseconds."""
    return time.time_ns() // 1_000_000
