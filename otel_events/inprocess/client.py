"""Sends the events of this process to a gateway: ``POST {gateway}/v1/events``, a JSON object a line.

Without a journal they wait in the bounded queue of the process (queue.py) while the gateway is away; with one, they
wait on disk, and a restart continues where it stopped. A request is repeated until the gateway accepts it: the gateway
recognises by their ids the events that it has. What it refuses for good is counted and dropped.
"""

from __future__ import annotations

import logging
import math
import time
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from random import SystemRandom
from urllib.parse import unquote, urlsplit

import msgspec
import urllib3

from otel_events.inprocess.faults import fault
from otel_events.inprocess.settings import GATEWAY
from otel_events.journal import Journal
from otel_events.journal.pack import pack, unpack
from otel_events.model.errors import ConfigError, ExportError
from otel_events.model.event import AnyEvent, Stat
from otel_events.otlp.config import Endpoint, Secret
from otel_events.otlp.http import HttpSender
from otel_events.otlp.send import Result, SystemClock, clip, redact, retry_after

TOKEN = "OTEL_EVENTS_TOKEN"  # noqa: S105  # the name of a variable, not a token
PATH = "/v1/events"
BODY = 1 << 20
"""Bytes of one request, before it is compressed."""
LINES = 10_000
"""Events of one request."""
TIMEOUT = 10.0
"""Seconds for one request."""
FIRST, LONGEST = 0.2, 30.0
"""Seconds to the next try: doubled each time, times a random share (full jitter), unless the gateway asks for more."""
TRIM = 30.0
"""Seconds between two clean-ups of the journal."""
REFUSED = frozenset({400, 413, 415, 422})
"""Statuses after which a request is not repeated. The cause of others (a wrong token, too busy) may pass."""

_random = SystemRandom().random
_encoder = msgspec.json.Encoder()
_logger = logging.getLogger("otel_events")


class _Answer(msgspec.Struct):
    accepted: int = 0
    duplicates: int = 0
    refused_count: int = 0
    error: str = ""


def endpoint(url: str, environ: Mapping[str, str]) -> Endpoint:
    """Where events are sent.

    Args:
        url: Base URL of the gateway.
        environ: May hold a token for it.

    Returns:
        The endpoint of its intake.

    Raises:
        ConfigError: The URL or the token cannot be used; the message names the variable.
    """
    try:
        parsed = urlsplit(url.strip())
        good = parsed.scheme in ("http", "https") and bool(parsed.hostname) and parsed.port != 0
    except ValueError:  # of a port that is no number
        good = False
    if not good:
        raise ConfigError(
            f"{GATEWAY} takes the URL of a gateway, such as http://localhost:4319; correct it or unset it"
        )
    token, (user, at, host) = environ.get(TOKEN, "").strip(), parsed.netloc.rpartition("@")
    if token and not (token.isascii() and token.isprintable()):
        raise ConfigError(f"{TOKEN} takes printable ASCII characters; correct it or unset it")
    headers = {}
    if token:
        headers["authorization"] = Secret(f"Bearer {token}")
    elif at:
        headers["authorization"] = Secret("Basic " + b64encode(unquote(user).encode()).decode())
    path = parsed.path.rstrip("/")
    address = parsed._replace(netloc=host, path=path if path.endswith(PATH) else path + PATH, query="", fragment="")
    return Endpoint(
        signal="logs",  # of no meaning here
        protocol="http/protobuf",
        address=address.geturl(),
        secure=parsed.scheme == "https",
        headers=headers,
        timeout=TIMEOUT,
        compression="gzip",
    )


class _Sender(HttpSender):
    """The OTLP sender's connection, deadlines and bounds, for lines of JSON."""

    def __init__(self, where: Endpoint) -> None:
        super().__init__(where, SystemClock())
        self._headers["content-type"] = "application/x-ndjson"
        self.refused = 0

    def _judged(self, answer: urllib3.BaseHTTPResponse, content: bytes) -> Result:
        try:
            parsed = msgspec.json.decode(content, type=_Answer)
        except (msgspec.MsgspecError, RecursionError):
            parsed = None
        if 200 <= answer.status < 300:
            if parsed is None:
                return Result("retry", "what answers there is no gateway of otel-events")
            self.refused += parsed.refused_count
            return Result("ok")
        message = parsed.error if parsed else ""
        reason = redact(clip(f"HTTP {answer.status} {answer.reason or ''} {message}".strip()), self._endpoint)
        after = retry_after(answer.headers.get("retry-after", ""), time.time())
        return Result("refused" if answer.status in REFUSED else "retry", reason, after)


class RemoteGateway:
    """A gateway elsewhere. Events are sent in order; ``take`` and ``tick`` are called by one thread at a time."""

    def __init__(self, where: Endpoint, journal: Journal | None = None) -> None:
        self._where, self._sender, self._journal = where, _Sender(where), journal
        self._failed, self._wait_until, self._closing = 0, 0.0, math.inf
        self._why = ""
        """Why the last request has to be repeated."""
        self._refused = 0
        self._trim_at = 0.0

    @classmethod
    def open(cls, url: str, journal: Path | None, environ: Mapping[str, str]) -> RemoteGateway:
        """
        Args:
            url: Base URL of the gateway.
            journal: File in which events wait for it; None: they wait in memory.
            environ: May hold a token for the gateway.

        Raises:
            ConfigError: A setting cannot be used.
            JournalError: The journal cannot be used.
        """
        where = endpoint(url, environ)
        if journal is None:
            return cls(where)
        journal.parent.mkdir(parents=True, exist_ok=True)
        return cls(where, Journal.open(journal))

    def take(self, events: Sequence[AnyEvent]) -> None:
        """When this returns, the events are on disk, or the gateway has them.

        Raises:
            ExportError, JournalError: Offer the same events again.
        """
        if self._journal is not None:
            self._journal.append(events)
        else:
            self._send_all(events)

    def tick(self) -> None:
        """Send what is on disk; ExportError where the gateway does not take it."""
        journal = self._journal
        if journal is None:
            return
        if journal.sent_seq < journal.last_seq and self._may_try():
            for seq, chunks in journal.commits(journal.sent_seq, records=False):
                self._send_all([event for chunk in chunks.values() for event in chunk.events])
                journal.sent_seq = seq
        journal.checkpoint()
        if time.monotonic() >= self._trim_at:
            self._trim_at = time.monotonic() + TRIM
            journal.trim(time.time_ns())

    def dropped(self, count: int) -> None:
        """Events had no room in the queue."""
        fault("the queue of events to the gateway", OverflowError(f"{count} events were dropped: it is full"))

    def finish(self, seconds: float) -> str:
        """Send what is on disk within ``seconds``, and close; why something is left, or ""."""
        self._closing = time.monotonic() + seconds
        self._wait_until = 0.0
        left = ""
        try:
            self.tick()
        except Exception as error:  # noqa: BLE001  # said by what is returned
            left = f"{error}; what it does not have is kept in {self._journal.path}" if self._journal else str(error)
        self._sender.close()
        if self._journal is not None:
            self._journal.close()
        return left

    def hurry(self, seconds: float) -> None:
        """Let what is under way end within ``seconds``."""
        self._closing = time.monotonic() + seconds
        self._wait_until = 0.0

    def abort(self) -> None:
        """End the request that is under way, from any thread."""
        self._sender.close()

    # --- one request after the other -------------------------------------------------------------------------------

    def _may_try(self) -> bool:
        return time.monotonic() >= self._wait_until

    def _send_all(self, events: Sequence[AnyEvent]) -> None:
        """Raises ExportError at the first request that is not accepted: then all of ``events`` are offered again, and
        the gateway drops those that it has."""
        if not self._may_try():
            raise ExportError(self._why)
        for body in _bodies(events):
            now = time.monotonic()
            result = self._sender.send(body, min(now + TIMEOUT, self._closing))
            if result.outcome == "retry":
                self._failed += 1
                pause = _random() * min(LONGEST, FIRST * 2.0 ** min(self._failed, 10))
                self._wait_until = time.monotonic() + max(pause, result.after or 0.0)
                self._why = f"{self._where.address} does not take events: {result.reason}"
                raise ExportError(self._why)
            self._failed = 0
            if result.outcome == "refused":
                fault("a request to the gateway", ExportError(result.reason))
        if self._sender.refused > self._refused:
            fault("an event for the gateway", ExportError(f"{self._sender.refused - self._refused} were refused"))
            self._refused = self._sender.refused


def _bodies(events: Iterable[AnyEvent]) -> Iterable[bytes]:
    """Requests of at most BODY bytes, but for one event that is longer, and LINES events."""
    body = bytearray()
    count = 0
    for event in events:
        if line := _line(event):
            if body and (len(body) + len(line) > BODY or count >= LINES):
                yield bytes(body)
                body.clear()
                count = 0
            body += line
            count += 1
    if body:
        yield bytes(body)


def _line(event: AnyEvent) -> bytes:
    """The event as a line of JSON; b"" for a number that JSON does not have, which is counted."""
    if isinstance(event, Stat) and not math.isfinite(event.value):
        fault("an event for the gateway", ValueError(f"{event.name} is {event.value}, which JSON cannot tell"))
        return b""
    try:
        return _encoder.encode(event) + b"\n"
    except (ValueError, OverflowError, TypeError):
        return _encoder.encode(unpack(event.run, pack(event))) + b"\n"  # lone surrogates, integers beyond 64 bits
