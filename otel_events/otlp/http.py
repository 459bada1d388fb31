"""OTLP over HTTP: one connection that stays open, no redirects, answers bounded in time and size."""

from __future__ import annotations

import gzip
import os
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from typing import cast

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection

from otel_events.model.errors import ConfigError
from otel_events.model.version import version
from otel_events.otlp.config import Compression, Endpoint
from otel_events.otlp.send import (
    MAX_ANSWER,
    Clock,
    Result,
    certificate_error,
    clip,
    redact,
    retry_after,
    status_details,
    success,
)
from otel_events.otlp.timed import Limit, TimedSocket, TimedTLSSocket

RETRYABLE = frozenset({429, 502, 503, 504})
"""Statuses worth another try; every other one except 2xx is a refusal for good."""

COMPRESS: dict[Compression, Callable[[bytes], bytes]] = {
    "gzip": lambda payload: gzip.compress(payload, 1, mtime=0),
    "deflate": lambda payload: zlib.compress(payload, 1),
}
"""Level 1 makes spans 8.8 times smaller in 3 us each; level 6 takes twice the time and saves another tenth."""


class HttpSender:
    """Sends the payloads of one signal to one URL (``send.Sender``)."""

    def __init__(self, endpoint: Endpoint, clock: Clock) -> None:
        self.signal, self.timeout = endpoint.signal, endpoint.timeout
        self._endpoint, self._clock = endpoint, clock
        self._headers = {
            "content-type": "application/x-protobuf",
            "user-agent": f"otel-events/{version()}",
            **({"content-encoding": endpoint.compression} if endpoint.compression != "none" else {}),
            **{name: value.reveal() for name, value in endpoint.headers.items()},
        }
        self._path = urllib3.util.parse_url(endpoint.address).request_uri
        self._connection: HTTPConnection | None = None
        self._ended = threading.Event()
        self._limit = Limit()
        self._pool = self._make_pool()

    def _make_pool(self) -> urllib3.HTTPConnectionPool:
        sender = self

        class Plain(HTTPConnection):
            def connect(self) -> None:
                sender._connection = self
                super().connect()
                self.sock = TimedSocket.of(self.sock, sender._limit)

        class Secure(HTTPSConnection):
            def connect(self) -> None:
                sender._connection = self
                super().connect()
                cast(TimedTLSSocket, self.sock).limit = sender._limit

        address = self._endpoint.address
        if not self._endpoint.secure:
            pool = urllib3.connection_from_url(address, maxsize=1, block=True)
            pool.ConnectionCls = Plain
            return pool
        secure = urllib3.connection_from_url(address, maxsize=1, block=True, ssl_context=tls(self._endpoint))
        secure.ConnectionCls = Secure
        return secure

    def send(self, payload: bytes, deadline: float) -> Result:
        left = deadline - self._clock.monotonic()
        if left <= 0:
            return Result("retry", "no time left to send")
        compress = COMPRESS.get(self._endpoint.compression)
        body = compress(payload) if compress else payload
        self._limit.ends = time.monotonic() + left
        self._ended.clear()
        try:
            result = self._answer(body, left)
        except (urllib3.exceptions.HTTPError, OSError) as failed:
            result = Result("retry", self._why(failed))
        # Headers that ``close`` cut short look complete to http.client, so a good status may be no answer at all.
        return Result("retry", "no answer in time") if self._ended.is_set() else result

    def _answer(self, body: bytes, left: float) -> Result:
        answer = self._pool.urlopen(
            "POST",
            self._path,
            body,
            self._headers,
            retries=False,  # the exporter tries again; redirects, which urllib3 counts as retries, are not followed
            timeout=urllib3.Timeout(total=left),
            preload_content=False,
        )
        return self._judged(answer, self._read(answer))

    def _judged(self, answer: urllib3.BaseHTTPResponse, content: bytes) -> Result:
        """The Result that an answer with that body means."""
        if 200 <= answer.status < 300:
            return success(self.signal, content)
        message, after = status_details(content)
        reason = redact(clip(f"HTTP {answer.status} {answer.reason or ''} {message}".strip()), self._endpoint)
        if answer.status not in RETRYABLE:
            return Result("refused", reason)
        header = retry_after(answer.headers.get("retry-after", ""), self._clock.time())
        return Result("retry", reason, max((wait for wait in (after, header) if wait is not None), default=None))

    @staticmethod
    def _read(answer: urllib3.BaseHTTPResponse) -> bytes:
        """The body, up to MAX_ANSWER bytes; a connection with more of it to come is not used again."""
        content = answer.read(MAX_ANSWER, decode_content=False)
        if len(content) == MAX_ANSWER:
            answer.close()
        answer.release_conn()
        return content

    def _why(self, failed: BaseException) -> str:
        refused = isinstance(
            failed, urllib3.exceptions.NewConnectionError
        )  # urllib3 has it as a subclass of its TimeoutError
        if isinstance(failed, urllib3.exceptions.TimeoutError) and not refused:
            return "no answer in time"
        while failed.__cause__ or failed.__context__:
            failed = failed.__cause__ or failed.__context__ or failed
        if isinstance(failed, TimeoutError):
            return "no answer in time"
        return redact(clip(f"{type(failed).__name__}: {failed}"), self._endpoint)

    def _end(self) -> None:
        """End the ``send`` of another thread, if one is under way."""
        self._ended.set()
        under_way = self._connection.sock if self._connection else None
        if under_way:
            with suppress(OSError):
                under_way.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._end()
        self._pool.close()

    def after_fork(self) -> None:
        inherited = self._connection.sock if self._connection else None
        if inherited:
            with suppress(OSError):
                os.close(inherited.detach())  # in this process only: no TLS close on the parent's connection
        self._connection, self._ended = None, threading.Event()
        self._pool = self._make_pool()


def tls(endpoint: Endpoint) -> ssl.SSLContext:
    """A context that trusts the endpoint's authorities and shows its client certificate, if any."""
    try:
        context = ssl.create_default_context(cafile=endpoint.certificate or None)
        context.sslsocket_class = TimedTLSSocket
    except OSError as failed:  # ssl.SSLError is one
        raise _unusable(endpoint.certificate, endpoint, "CERTIFICATE", failed) from None
    if endpoint.client_certificate:
        try:
            context.load_cert_chain(endpoint.client_certificate, endpoint.client_key or None)
        except OSError as failed:
            raise _unusable(endpoint.client_certificate, endpoint, "CLIENT_CERTIFICATE", failed) from None
    return context


def _unusable(path: str, endpoint: Endpoint, setting: str, failed: OSError) -> ConfigError:
    return certificate_error(path, endpoint, setting, failed.strerror or type(failed).__name__)
