"""A real OTLP receiver on loopback, for both protocols, that answers as a test says."""

from __future__ import annotations

import gzip
import socket
import ssl
import threading
import zlib
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
import msgspec
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import RetryInfo  # type: ignore[import-untyped]  # ships no types
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]  # ships no types

from otel_events.otlp.config import PREFIX, Protocol, Signal
from otel_events.otlp.send import PARTLY
from otel_events.testing.received import METHODS, Received

_PATHS: dict[str, Signal] = {"/v1/traces": "traces", "/v1/metrics": "metrics", "/v1/logs": "logs"}
_DECODE: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    "identity": bytes,
    "gzip": gzip.decompress,
    "deflate": zlib.decompress,
}


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """How one request is answered. A request is stored only when it is answered with ``http`` 200 and ``grpc`` OK."""

    http: int = 200
    grpc: str = "OK"
    """Name of a gRPC code."""
    retry_after: str = ""
    """Value of HTTP's Retry-After."""
    retry_info: float | None = None
    """Seconds of a google.rpc.RetryInfo."""
    message: str = ""
    """Of the error, or of partial_success."""
    rejected: int = 0
    """Of partial_success."""
    silent: bool = False
    """Never answer."""

    def refuses(self) -> bool:
        """Whether the request is not taken, by either protocol."""
        return self.http != 200 or self.grpc != "OK"

    def body(self, signal: Signal) -> bytes:
        """The response message, or the google.rpc.Status of a refusal."""
        if self.refuses():
            status = Status(code=getattr(grpc.StatusCode, self.grpc).value[0], message=self.message)
            if self.retry_info is not None:
                seconds, part = divmod(self.retry_info, 1)
                delay = Duration(seconds=int(seconds), nanos=round(part * 1e9))
                status.details.add().Pack(RetryInfo(retry_delay=delay))
            encoded: bytes = status.SerializeToString()
            return encoded
        response, rejected = PARTLY[signal]
        message = response()
        if self.rejected or self.message:
            setattr(message.partial_success, rejected, self.rejected)
            message.partial_success.error_message = self.message
        encoded = message.SerializeToString()
        return encoded


class Certificates(msgspec.Struct, frozen=True):
    """PEM files with which the server speaks TLS; with ``client_ca`` it asks clients for a certificate of theirs."""

    certificate: str
    key: str
    client_ca: str = ""


class CaptureServer(Received):
    """An OTLP receiver on two free ports of 127.0.0.1: HTTP and gRPC.

    >>> from otel_events.otlp import from_env, sender
    >>> with CaptureServer() as collector:
    ...     endpoint = from_env(collector.environ("http/protobuf")).endpoints["logs"]
    ...     collector.answers.append(Answer(http=503, retry_after="7"))
    ...     logs = sender(endpoint)
    ...     import time
    ...     first = logs.send(b"", time.monotonic() + 5)
    ...     second = logs.send(b"", time.monotonic() + 5)
    ...     logs.close()
    >>> first.outcome, first.after, second.outcome, len(collector.requests)
    ('retry', 7.0, 'ok', 1)

    ``answers`` are given to the next requests, one each; then all are taken. ``stop()`` refuses connections until
    ``start()``, which listens on the same ports.
    """

    def __init__(self, certificates: Certificates | None = None) -> None:
        super().__init__()
        self.answers: deque[Answer] = deque()
        self._certificates = certificates
        self._http_port = self._grpc_port = 0
        self._stopped = threading.Event()

    @property
    def url(self) -> str:
        """Base URL of the HTTP receiver."""
        return f"{self._scheme}://127.0.0.1:{self._http_port}"

    @property
    def target(self) -> str:
        """host:port of the gRPC receiver."""
        return f"127.0.0.1:{self._grpc_port}"

    @property
    def _scheme(self) -> str:
        return "https" if self._certificates else "http"

    def environ(self, protocol: Protocol) -> dict[str, str]:
        """The variables that send all signals here."""
        address = self.url if protocol == "http/protobuf" else f"{self._scheme}://{self.target}"
        return {PREFIX + "PROTOCOL": protocol, PREFIX + "ENDPOINT": address}

    def __enter__(self) -> CaptureServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Listen; on the ports of before, if there were any."""
        self._stopped.clear()
        self._http = _HttpServer(self, self._http_port, self._tls_context())
        self._http_port = self._http.server_port
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        self._workers = ThreadPoolExecutor(8)
        self._grpc = grpc.server(self._workers, options=(("grpc.so_reuseport", 0),))
        self._grpc.add_generic_rpc_handlers((_Services(self),))
        address = f"127.0.0.1:{self._grpc_port}"
        credentials = self._grpc_credentials()
        if credentials:
            self._grpc_port = self._grpc.add_secure_port(address, credentials)
        else:
            self._grpc_port = self._grpc.add_insecure_port(address)
        self._grpc.start()

    def stop(self) -> None:
        """Close all connections and refuse new ones."""
        self._stopped.set()
        self._grpc.stop(None).wait()
        self._workers.shutdown()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def _tls_context(self) -> ssl.SSLContext | None:
        if not self._certificates:
            return None
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self._certificates.certificate, self._certificates.key)
        if self._certificates.client_ca:
            context.load_verify_locations(self._certificates.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def _grpc_credentials(self) -> grpc.ServerCredentials | None:
        if not self._certificates:
            return None
        files = self._certificates
        pair = (_read(files.key), _read(files.certificate))
        return grpc.ssl_server_credentials([pair], _read(files.client_ca) or None, bool(files.client_ca))

    def next_answer(self) -> Answer:
        """The answer to the next request; a silent one is held back until the server stops."""
        answer = self.answers.popleft() if self.answers else Answer()
        if answer.silent:
            self._stopped.wait()
        return answer


def _read(path: str) -> bytes:
    if not path:
        return b""
    with open(path, "rb") as file:
        return file.read()


class _HttpServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, capture: CaptureServer, port: int, context: ssl.SSLContext | None) -> None:
        self.capture, self._open = capture, set[socket.socket]()
        super().__init__(("127.0.0.1", port), _Handler)
        if context:  # the handshake is the handler's, in its thread: a client that says nothing holds up no other
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Remember the connection, to close it at the end."""
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Forget the connection."""
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that closes its connection, or whose certificate is not trusted, is nothing to log."""

    def server_close(self) -> None:
        """Close the connections too, which clients keep alive."""
        for connection in list(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        super().server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _HttpServer

    def do_POST(self) -> None:
        """Answer an export request, and store it where it is taken."""
        capture = self.server.capture
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        signal = _PATHS.get(self.path)
        if signal is None:
            return self._answer(404, b"")
        answer = capture.next_answer()
        if answer.silent:
            self.close_connection = True
            return None
        if not answer.refuses():
            decode = _DECODE.get(self.headers.get("content-encoding", ""))
            if decode is None:
                return self._answer(415, b"")
            headers = {name.lower(): value for name, value in self.headers.items()}
            try:
                capture.store(signal, "http/protobuf", headers, decode(body))
            except (DecodeError, OSError, EOFError, zlib.error):
                return self._answer(400, b"")
        return self._answer(answer.http, answer.body(signal), answer.retry_after)

    def _answer(self, status: int, body: bytes, retry_after: str = "") -> None:
        self.send_response(status)
        if retry_after:
            self.send_header("Retry-After", retry_after)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Tests have no use for an access log."""


class _Services(grpc.GenericRpcHandler):
    """The three official services, with payloads as bytes, so that they can be stored as they came."""

    def __init__(self, capture: CaptureServer) -> None:
        self._capture = capture

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """The handler of an official method; None for others."""
        signal = METHODS.get(handler_call_details.method)
        if signal is None:
            return None
        return grpc.unary_unary_rpc_method_handler(lambda body, context: self._export(signal, body, context))

    def _export(self, signal: Signal, body: bytes, context: Any) -> bytes:
        answer = self._capture.next_answer()
        if answer.refuses():
            context.set_trailing_metadata((("grpc-status-details-bin", answer.body(signal)),))
            context.abort(getattr(grpc.StatusCode, answer.grpc), answer.message)
        metadata = {
            key: value if isinstance(value, str) else value.hex() for key, value in context.invocation_metadata()
        }
        if not answer.silent:
            try:
                self._capture.store(signal, "grpc", metadata, body)
            except DecodeError as error:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        return answer.body(signal)
