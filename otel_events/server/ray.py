"""POST /ray/v1/events: where Ray's event export sends to.

Ray takes any 4xx for a reason to send the same batch again, for ever, and nothing else meanwhile. So what cannot be
decoded, is too long or badly packed is kept as a dead letter and answered with 200, like all that is kept; only a
journal that cannot be written (503), or a request that is not whole or not allowed, is told as such: Ray keeps it then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from otel_events.gateway.gateway import Gateway
from otel_events.intake.records import HEAD_BYTES, MAX_RECORD_BYTES, Record, Refused
from otel_events.server.answers import Taken, answer
from otel_events.server.ingest import ENCODINGS, Budget, Held, Limits, Plain

PATH = "/ray/v1/events"
TOO_LONG = f"a body of more than {MAX_RECORD_BYTES:,} bytes: only its beginning is kept"


def routes(gateway: Gateway, limits: Limits = Limits()) -> Sequence[BaseRoute]:  # noqa: B008 - immutable
    """The receiver as a route for ``run(..., more=...)``."""
    return [Route(PATH, Receiver(gateway, limits).events, methods=["POST"])]


class Receiver:
    """The endpoint over one gateway: a batch is one record, and one transaction of the journal."""

    def __init__(self, gateway: Gateway, limits: Limits) -> None:
        self._gateway, self._limits = gateway, limits
        self._budget = Budget(limits.in_flight)

    async def events(self, request: Request) -> Response:
        with self._budget.held() as held:
            try:
                async with asyncio.timeout(self._limits.body_time):
                    batch = await _read(request, held)
            except TimeoutError as error:
                reason = f"the body took more than {self._limits.body_time:g} seconds: send it again"
                raise HTTPException(408, reason, {"Connection": "close"}) from error
            taken = Taken()
            taken.add(await run_in_threadpool(self._gateway.ingest, "ray", [batch]))
        return answer(200, taken)


async def _read(request: Request, held: Held) -> Record | Refused:
    """The whole body, unpacked; or what is wrong with it and its beginning. What is not kept is read all the same: a
    sender that cannot get rid of its body does not read the answer."""
    encoding = request.headers.get("content-encoding", "").strip().lower()
    unpack = ENCODINGS.get(encoding, Plain)()
    problem = "" if encoding in ENCODINGS else f"Content-Encoding {encoding[:80]!r} is not known: send gzip or none"
    body, length = bytearray(), 0
    async for chunk in request.stream():
        length += len(chunk)
        if not problem:
            problem = _feed(body, unpack, chunk, held)
        elif len(body) < HEAD_BYTES:
            body += chunk[:HEAD_BYTES]
    problem = problem or _finish(unpack)
    if problem:
        return Refused(PATH, problem, bytes(body[:HEAD_BYTES]), max(length, len(body)))
    return Record(bytes(body), "", PATH)


def _feed(body: bytearray, unpack: Plain, chunk: bytes, held: Held) -> str:
    """Add a chunk to the body; what is wrong, or ""."""
    pieces = unpack.feed(chunk)
    while True:
        try:
            piece = next(pieces, None)
        except HTTPException as error:
            return error.detail
        if piece is None:
            return ""
        if len(body) + len(piece) > MAX_RECORD_BYTES:
            return TOO_LONG
        held.take(len(piece))  # raises 503 where too much is in memory: Ray sends again
        body += piece


def _finish(unpack: Plain) -> str:
    try:
        unpack.finish()
    except HTTPException as error:
        return error.detail
    return ""
