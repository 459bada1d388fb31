"""The tee stands in front of a real ClearML server, passes every call on unchanged, and reads a copy of those that tell
of runs.

Bodies and answers are streamed. The copy of a ``tasks.*`` or ``events.add*`` call goes to the gateway once the server
has answered 200 and the client has the answer. The tee fails open: whatever goes wrong with the copy (no room, no
journal, a fault) is counted, and the call is not touched.

Only the headers of a connection (RFC 9110, 7.6.1) and ``Host`` are not passed on. Where a copy is made,
``Accept-Encoding`` is reduced to codings that we can read.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterable
from typing import Any

import httpx
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from otel_events.clearml_server.api import wire
from otel_events.clearml_server.api.app import WORKER_HEADERS
from otel_events.clearml_server.api.base import ApiError
from otel_events.gateway.gateway import Gateway
from otel_events.model.errors import ConfigError
from otel_events.server.ingest import ENCODINGS, Budget, Held, Limits
from otel_events.sources.clearml.decode import AnsweredCall, parsed_record, tells_of_runs

log = logging.getLogger("otel_events.clearml")

CONNECTION_HEADERS = frozenset(
    (
        *(b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection"),
        *(b"te", b"trailer", b"transfer-encoding", b"upgrade"),
    )
)
DROPPED = "clearml_tee"
"""``reason`` of otel_events_dropped_total: calls that were passed on and not read, for want of room."""
FAULT = "clearml_tee"
"""``what`` of otel_events_faults_total: calls that were passed on and could not be read."""
TIMEOUT = httpx.Timeout(300.0, connect=10.0, pool=10.0)
CONNECTIONS = httpx.Limits(max_connections=512, max_keepalive_connections=64)

Headers = list[tuple[bytes, bytes]]


def routes(upstream: str, gateway: Gateway, limits: Limits = Limits()) -> list[BaseRoute]:  # noqa: B008 - immutable
    """One route that takes every path, so put it last. Nothing has to be closed: connections end with the event loop.

    Args:
        upstream: The URL of the API server, for example ``https://api.clear.ml``.
        gateway: Takes the calls that were read.
        limits: Bytes of a copy, and of all copies together.

    Raises:
        ConfigError: ``upstream`` is no http(s) URL.
    """
    return [Route("/{path:path}", Tee(_checked(upstream), gateway, limits))]


def _checked(upstream: str) -> httpx.URL:
    try:
        url = httpx.URL(upstream)
    except (httpx.InvalidURL, TypeError) as error:
        raise ConfigError(f"--clearml-upstream {upstream[:200]!r} is no URL: {error}") from error
    if url.scheme not in ("http", "https") or not url.host or url.query or url.fragment:
        raise ConfigError(f"--clearml-upstream {upstream[:200]!r}: name the API server as https://host[:port]")
    return url


class Copy:
    """The copy of one call while it streams by. It is dropped once there is no room for it."""

    def __init__(self, at: wire.Target, worker: str, query: str, held: Held, limit: int) -> None:
        self.at, self.worker, self.query = at, worker, query
        self.body, self.answer = bytearray(), bytearray()
        self.encoding = ""
        self.whole = self.full = False
        """``whole``: the server answered 200, and the copy has all of it; ``full``: there was no room."""
        self._held, self._limit = held, limit

    def take(self, part: bytearray, chunk: bytes) -> None:
        """Append a chunk to the body or to the answer, as long as there is room."""
        if self.full:
            return
        self.full = len(self.body) + len(self.answer) + len(chunk) > self._limit
        try:
            self._held.take(len(chunk))
        except HTTPException:
            self.full = True
        if self.full:
            self.body.clear()
            self.answer.clear()
        else:
            part += chunk

    def call(self, now: float) -> AnsweredCall:
        """The call, parsed.

        Args:
            now: Epoch seconds.

        Raises:
            ApiError, HTTPException: The body or the answer is not what a call has.
        """
        unpacker = ENCODINGS[self.encoding]()
        answer = b"".join(_capped(unpacker.feed(bytes(self.answer)), self._limit))
        unpacker.finish()
        data = wire.fields(answer).get("data")
        return AnsweredCall(now, self.at.name, self._body(), data, self.at.version, self.worker)

    def _body(self) -> dict[str, Any]:
        body = bytes(self.body)
        if self.at.name == "events.add_batch":
            return {"events": wire.lines(body)}
        return wire.fields(body) | wire.arguments(self.query)


def _capped(pieces: Iterable[bytes], limit: int) -> Iterable[bytes]:
    for piece in pieces:
        limit -= len(piece)
        if limit < 0:
            raise HTTPException(413, "the unpacked answer is too long")
        yield piece


class Tee:
    """One upstream, as an ASGI application of one event loop."""

    def __init__(self, upstream: httpx.URL, gateway: Gateway, limits: Limits) -> None:
        self._upstream, self._gateway, self._limits = upstream, gateway, limits
        self._budget = Budget(limits.in_flight)
        self._client: httpx.AsyncClient | None = None
        self._closing: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        with self._budget.held() as held:
            copy = self._copy(request, held)
            answer = await self._answer(request, copy)
            await answer(scope, receive, send)
            if copy is not None:
                await self._hand_over(copy)

    def _copy(self, request: Request, held: Held) -> Copy | None:
        """An empty copy for the call; None for one that tells nothing of a run."""
        try:
            at = wire.target(request.url.path)
        except ApiError:
            return None
        if not tells_of_runs(at.name):
            return None
        worker = next((request.headers[name] for name in WORKER_HEADERS if name in request.headers), "")
        return Copy(at, worker, request.url.query, held, self._limits.body)

    async def _answer(self, request: Request, copy: Copy | None) -> Response:
        try:
            answer = await self._open().send(self._forwarded(request, copy), stream=True)
        except httpx.HTTPError as error:
            log.warning("ClearML's server at %s did not answer: %s", self._upstream, str(error) or type(error).__name__)
            refusal = ApiError(
                502, 0, f"the ClearML server behind this gateway did not answer ({type(error).__name__})"
            )
            return Response(wire.envelope(None, None, {}, refusal), 502, media_type="application/json")
        except ClientDisconnect:
            return Response(status_code=400)  # the client has gone, so nobody reads this answer
        streamed = StreamingResponse(_passed(answer, copy), answer.status_code)
        streamed.raw_headers = _end_to_end(answer.headers.raw)
        return streamed

    def _forwarded(self, request: Request, copy: Copy | None) -> httpx.Request:
        scope = request.scope
        path = self._upstream.raw_path.rstrip(b"/") + (scope.get("raw_path") or scope["path"].encode())
        if scope["query_string"]:
            path += b"?" + scope["query_string"]
        headers = [(name, value) for name, value in _end_to_end(request.headers.raw) if name != b"host"]
        if copy is not None:
            headers = [(name, _readable(value) if name == b"accept-encoding" else value) for name, value in headers]
        has_body = "content-length" in request.headers or "transfer-encoding" in request.headers
        content = _read(request, copy) if has_body else None
        url = self._upstream.copy_with(raw_path=path)
        extensions = {"timeout": TIMEOUT.as_dict()}
        return httpx.Request(request.method, url, headers=headers, content=content, extensions=extensions)

    def _open(self) -> httpx.AsyncClient:
        """The client, and a task that closes it when the event loop ends its tasks."""
        if self._client is None:
            # Without trust_env: a proxy of the environment is for calls to the internet, not for the upstream.
            self._client = httpx.AsyncClient(timeout=TIMEOUT, limits=CONNECTIONS, trust_env=False)
            self._closing = asyncio.get_running_loop().create_task(_close_at_end(self._client))
        return self._client

    async def _hand_over(self, copy: Copy) -> None:
        """Give the copy to the gateway. The client has its answer by now, so nothing that fails here reaches it."""
        if not copy.whole:
            return  # refused by the server, or the client has gone: it will send the same again
        try:
            if copy.full:
                self._gateway.dropped(DROPPED, 1)
            else:
                await run_in_threadpool(self._ingest, copy)
        except Exception:
            log.exception("a call of %s was passed on and could not be read", copy.at.name)
            self._gateway.faulted(FAULT, 1)

    def _ingest(self, copy: Copy) -> None:
        self._gateway.ingest_parsed("clearml", [parsed_record(copy.call(time.time()))])


async def _close_at_end(client: httpx.AsyncClient) -> None:
    try:
        await asyncio.Event().wait()
    finally:
        await client.aclose()


async def _read(request: Request, copy: Copy | None) -> AsyncIterator[bytes]:
    async for chunk in request.stream():
        if copy is not None:
            copy.take(copy.body, chunk)
        if chunk:
            yield chunk


async def _passed(answer: httpx.Response, copy: Copy | None) -> AsyncIterator[bytes]:
    """The answer's bytes as they come, still compressed."""
    try:
        async for chunk in answer.aiter_raw():
            if copy is not None and answer.status_code == 200:
                copy.take(copy.answer, chunk)
            yield chunk
        if copy is not None:
            copy.encoding = answer.headers.get("content-encoding", "").strip().lower()
            copy.whole = answer.status_code == 200
    finally:
        await answer.aclose()


def _end_to_end(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """The headers without those of a connection, and without those that ``Connection`` names."""
    lowered = [(name.lower(), value) for name, value in headers]
    named = {option.strip().lower() for name, value in lowered if name == b"connection" for option in value.split(b",")}
    return [(name, value) for name, value in lowered if name not in CONNECTION_HEADERS and name not in named]


def _readable(accepted: bytes) -> bytes:
    """Those of the codings that the client accepts which we can read too."""
    codings = [coding.strip() for coding in accepted.split(b",")]
    readable = [coding for coding in codings if coding.partition(b";")[0].strip().lower() == b"gzip"]
    return b", ".join(readable) or b"identity"
