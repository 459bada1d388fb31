"""Senders against a real receiver on loopback: what arrives, and what each answer means for the batch."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from email.utils import formatdate

import grpc
import pytest

from otel_events.model.errors import ConfigError
from otel_events.model.telemetry import LogData
from otel_events.otlp import Result, Sender, encode_log, from_env, logs_request, resource, scope, sender
from otel_events.otlp.config import PREFIX, SIGNALS, Protocol, Signal
from otel_events.otlp.grpc import METHODS, RETRYABLE
from otel_events.otlp.send import MAX_AFTER, MAX_ANSWER
from otel_events.testing import Answer, CaptureServer, Certificates, FakeClock
from otel_events.testing.received import METHODS as OFFICIAL
from tests.otlp.certificates import Files
from tests.patience import HOURS, PATIENCE, until

PROTOCOLS: tuple[Protocol, ...] = ("grpc", "http/protobuf")
PAYLOAD = logs_request([encode_log(LogData(1, 2, 9, "INFO", "ä" * 1000, {}))], resource({"a": 1}), scope("me"))
both = pytest.mark.parametrize("protocol", PROTOCOLS)


def make(collector: CaptureServer, protocol: Protocol, /, signal: Signal, **settings: str) -> Sender:
    """A sender to the collector; ``settings`` are the ends of variables' names."""
    more = {PREFIX + name: value for name, value in settings.items()}
    return sender(from_env(collector.environ(protocol) | more).endpoints[signal])


def send(collector: CaptureServer, protocol: Protocol, /, **settings: str) -> Result:
    with closing(make(collector, protocol, "logs", **settings)) as sending:
        return sending.send(PAYLOAD, soon())


def soon() -> float:
    """A deadline that a test which works does not reach."""
    return time.monotonic() + PATIENCE


def send_within(seconds: float, collector: CaptureServer, protocol: Protocol, /) -> Result:
    """Exactly so many are left when it is sent: the clock stands still until then."""
    clock = FakeClock()
    endpoint = from_env(collector.environ(protocol) | {PREFIX + "TIMEOUT": str(HOURS)}).endpoints["logs"]
    with closing(sender(endpoint, clock)) as sending:
        return sending.send(PAYLOAD, clock.monotonic() + seconds)


@both
@pytest.mark.parametrize("signal", SIGNALS)
def test_a_payload_arrives_as_it_is_with_its_headers(
    collector: CaptureServer, protocol: Protocol, signal: Signal
) -> None:
    with closing(make(collector, protocol, signal, HEADERS="authorization=Bearer%20t")) as sending:
        assert (sending.signal, sending.timeout) == (signal, 10.0)
        assert sending.send(b"", soon()) == Result("ok")
    [request] = collector.requests
    assert (request.signal, request.protocol, request.body) == (signal, protocol, b"")
    assert request.headers["authorization"] == "Bearer t"
    assert request.headers["user-agent"].startswith("otel-events/")


def test_http_tells_what_it_sends(collector: CaptureServer) -> None:
    assert send(collector, "http/protobuf").outcome == "ok"
    headers = collector.requests[0].headers
    assert headers["content-type"] == "application/x-protobuf"
    assert headers["content-length"] == str(len(PAYLOAD))
    assert "content-encoding" not in headers


def test_the_grpc_methods_are_those_of_the_official_services() -> None:
    assert {method: signal for signal, method in METHODS.items()} == OFFICIAL


@pytest.mark.parametrize("how", ["gzip", "deflate"])
def test_http_compresses(collector: CaptureServer, how: str) -> None:
    assert send(collector, "http/protobuf", COMPRESSION=how).outcome == "ok"
    [request] = collector.requests
    assert request.body == PAYLOAD
    assert request.headers["content-encoding"] == how
    assert int(request.headers["content-length"]) < len(PAYLOAD) / 5


def test_grpc_compresses(collector: CaptureServer) -> None:
    """What goes over the wire is counted by a relay between the sender and the collector."""
    sizes = []
    for how in ("none", "gzip"):
        with relay(collector.target) as (target, passed):
            assert send(collector, "grpc", COMPRESSION=how, ENDPOINT=f"http://{target}").outcome == "ok"
            sizes.append(sum(passed))
    assert [request.body for request in collector.requests] == [PAYLOAD, PAYLOAD]
    assert sizes[1] < sizes[0] - len(PAYLOAD) / 2


HTTP_ANSWERS = [
    (Answer(http=429), "retry", None),
    (Answer(http=502), "retry", None),
    (Answer(http=503), "retry", None),
    (Answer(http=504), "retry", None),
    (Answer(http=503, retry_after="3"), "retry", 3.0),
    (Answer(http=503, retry_after="soon"), "retry", None),
    (Answer(http=503, retry_after="-1"), "retry", 0.0),
    (Answer(http=503, retry_after="nan"), "retry", 0.0),
    (Answer(http=503, retry_after="1e300"), "retry", MAX_AFTER),
    (Answer(http=429, retry_info=2.5), "retry", 2.5),
    (Answer(http=429, retry_info=2.5, retry_after="4"), "retry", 4.0),
    (Answer(http=400, message="bad span"), "refused", None),
    (Answer(http=401), "refused", None),
    (Answer(http=404), "refused", None),
    (Answer(http=413), "refused", None),
    (Answer(http=500), "refused", None),
    (Answer(http=500, retry_after="3"), "refused", None),
    (Answer(http=307), "refused", None),
]


@pytest.mark.parametrize(("answer", "outcome", "after"), HTTP_ANSWERS, ids=str)
def test_http_answers(collector: CaptureServer, answer: Answer, outcome: str, after: float | None) -> None:
    collector.answers.append(answer)
    result = send(collector, "http/protobuf")
    assert (result.outcome, result.after) == (outcome, after)
    assert f"HTTP {answer.http}" in result.reason
    assert answer.message in result.reason
    assert collector.requests == []


def test_a_date_to_retry_after_is_told_as_seconds(collector: CaptureServer) -> None:
    clock = FakeClock(start=1_760_000_000)
    endpoint = from_env(collector.environ("http/protobuf")).endpoints["logs"]
    collector.answers.append(Answer(http=503, retry_after=formatdate(clock.time() + 90, usegmt=True)))
    with closing(sender(endpoint, clock)) as sending:
        assert sending.send(PAYLOAD, clock.monotonic() + PATIENCE).after == 90.0


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK], ids=str)
def test_grpc_answers(collector: CaptureServer, code: grpc.StatusCode) -> None:
    """The codes that the specification lists are retried, RESOURCE_EXHAUSTED only if told when."""
    collector.answers += (Answer(grpc=code.name, message="why"), Answer(grpc=code.name, retry_info=1.5))
    first, second = send(collector, "grpc"), send(collector, "grpc")
    assert first.reason == f"gRPC {code.name} why"
    assert first.outcome == ("retry" if code in RETRYABLE else "refused")
    again = code in RETRYABLE or code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert (second.outcome, second.after) == (("retry", 1.5) if again else ("refused", None))


def test_the_retryable_grpc_codes_are_those_of_the_specification() -> None:
    names = "CANCELLED DEADLINE_EXCEEDED ABORTED OUT_OF_RANGE UNAVAILABLE DATA_LOSS"
    assert {code.name for code in RETRYABLE} == set(names.split())


@both
@pytest.mark.parametrize("signal", SIGNALS)
def test_what_was_not_taken_is_told(collector: CaptureServer, protocol: Protocol, signal: Signal) -> None:
    collector.answers.append(Answer(rejected=3, message="too\nold"))
    with closing(make(collector, protocol, signal)) as sending:
        result = sending.send(b"", soon())
    assert result == Result("ok", rejected=3, message="too old")


@both
def test_a_silent_collector_is_waited_for_until_the_deadline(collector: CaptureServer, protocol: Protocol) -> None:
    collector.answers.append(Answer(silent=True))
    began = time.monotonic()
    result = send_within(0.3, collector, protocol)  # which ends, though the endpoint's own timeout is of hours
    assert time.monotonic() - began > 0.25
    assert result.outcome == "retry"
    assert result.reason.startswith(("no answer in time", "gRPC DEADLINE_EXCEEDED"))


@both
def test_no_time_left_is_no_request(collector: CaptureServer, protocol: Protocol) -> None:
    assert send_within(0.0, collector, protocol) == Result("retry", "no time left to send")
    assert collector.requests == []


@both
def test_a_stopped_collector_is_worth_another_try_and_taken_back(collector: CaptureServer, protocol: Protocol) -> None:
    with closing(make(collector, protocol, "logs")) as sending:
        assert sending.send(PAYLOAD, soon()).outcome == "ok"
        collector.stop()
        refused = sending.send(PAYLOAD, soon())
        collector.start()
        outcomes = [sending.send(PAYLOAD, soon()).outcome]

        def taken() -> bool:
            outcomes.append(sending.send(PAYLOAD, soon()).outcome)
            return outcomes[-1] == "ok"

        if outcomes != ["ok"]:
            until(taken)  # gRPC takes up to a second to connect anew
    assert refused.outcome == "retry"
    assert set(outcomes) <= {"ok", "retry"}
    assert outcomes[-1] == "ok"
    assert len(collector.requests) == 2


@both
def test_close_ends_a_send_under_way(collector: CaptureServer, protocol: Protocol) -> None:
    collector.answers.append(Answer(silent=True))
    sending = make(collector, protocol, "logs")
    results: list[Result] = []
    thread = threading.Thread(target=lambda: results.append(sending.send(PAYLOAD, time.monotonic() + HOURS)))
    thread.start()
    until(lambda: not collector.answers)
    sending.close()
    thread.join(PATIENCE)
    assert [result.outcome for result in results] == ["retry"]
    assert sending.send(PAYLOAD, soon()).outcome == "retry"


@both
def test_a_header_that_the_other_side_repeats_is_not_told(collector: CaptureServer, protocol: Protocol) -> None:
    collector.answers.append(Answer(http=400, grpc="INTERNAL", message="bad token hunter2"))
    result = send(collector, protocol, HEADERS="authorization=hunter2")
    assert "bad token ***" in result.reason
    assert "hunter2" not in repr(result)


# What a well-behaved server does not do: bytes written by hand.


@contextmanager
def listening(answer: bytes, pause: float = 0.0, repeat: bytes = b"") -> Iterator[tuple[str, list[int]]]:
    """A server that answers each request with ``answer``, a byte each ``pause`` seconds, then ``repeat`` without end.

    Gives its URL and a list with a number for each connection.
    """
    stop, connections = threading.Event(), list[int]()
    server = socket.create_server(("127.0.0.1", 0))
    threads: list[threading.Thread] = []

    def write(client: socket.socket, data: bytes) -> None:
        for chunk in [data[i : i + 1] for i in range(len(data))] if pause else [data]:
            client.sendall(chunk)
            if pause:
                stop.wait(pause)

    def serve(client: socket.socket) -> None:
        size = 0
        with client, client.makefile("rb") as file, suppress(OSError):
            for line in file:
                size = int(line.split()[1]) if line.lower().startswith(b"content-length:") else size
                if line != b"\r\n":
                    continue
                file.read(size)
                write(client, answer)
                while repeat and not stop.is_set():
                    write(client, repeat)

    def accept() -> None:
        with suppress(OSError):
            while True:
                client, _ = server.accept()
                connections.append(len(connections))
                threads.append(threading.Thread(target=serve, args=(client,)))
                threads[-1].start()

    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield f"http://127.0.0.1:{server.getsockname()[1]}", connections
    finally:
        stop.set()
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        for thread in (accepting, *threads):
            thread.join()


@contextmanager
def relay(target: str) -> Iterator[tuple[str, list[int]]]:
    """A relay to ``target``; gives its own address and a list of the sizes that came from the client."""
    host, _, port = target.rpartition(":")
    sizes: list[int] = []
    server = socket.create_server(("127.0.0.1", 0))

    def copy(source: socket.socket, sink: socket.socket, sizes: list[int]) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                sizes.append(len(data))
                sink.sendall(data)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)

    def serve() -> None:
        client, _ = server.accept()
        with client, socket.create_connection((host, int(port))) as far:
            back = threading.Thread(target=copy, args=(far, client, []))
            back.start()
            copy(client, far, sizes)
            back.join()

    thread = threading.Thread(target=serve)
    thread.start()
    yield f"127.0.0.1:{server.getsockname()[1]}", sizes
    thread.join()
    server.close()


def raw(url: str, clock: FakeClock | None = None) -> Sender:
    environ = {PREFIX + "PROTOCOL": "http/protobuf", PREFIX + "ENDPOINT": url, PREFIX + "TIMEOUT": str(HOURS)}
    return sender(from_env(environ).endpoints["logs"], clock)


def test_an_answer_of_a_byte_at_a_time_is_cut_off_at_the_deadline() -> None:
    """It would go on without end."""
    clock = FakeClock()
    with listening(b"HTTP/1.1 200 OK\r\n", 0.02, repeat=b"x: y\r\n") as (url, _), closing(raw(url, clock)) as sending:
        assert sending.send(PAYLOAD, clock.monotonic() + 0.5) == Result("retry", "no answer in time")


def test_an_answer_cut_short_by_close_is_no_yes() -> None:
    results: list[Result] = []
    with listening(b"HTTP/1.1 200 OK\r\n", 0.001, repeat=b"x: y\r\n") as (url, connections):
        sending = raw(url)
        thread = threading.Thread(target=lambda: results.append(sending.send(b"x", time.monotonic() + HOURS)))
        thread.start()
        until(lambda: connections)
        threading.Event().wait(0.1)  # some of the headers are here
        sending.close()
        thread.join(PATIENCE)
    assert [result.outcome for result in results] == ["retry"]


def test_an_answer_without_end_is_read_no_further_than_needed() -> None:
    chunk = b"1000\r\n" + b"x" * 0x1000 + b"\r\n"
    start = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    with listening(start, repeat=chunk) as (url, connections), closing(raw(url)) as sending:
        for _ in range(2):
            assert sending.send(PAYLOAD, soon()).outcome == "ok"
        assert len(connections) == 2


def test_a_connection_with_more_to_come_is_not_used_again() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n" + b"x" * MAX_ANSWER  # the rest never comes
    with listening(answer) as (url, connections), closing(raw(url)) as sending:
        for _ in range(2):
            assert sending.send(PAYLOAD, soon()).outcome == "ok"
        assert len(connections) == 2


def test_one_connection_is_kept_alive() -> None:
    with listening(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") as (url, connections), closing(raw(url)) as sending:
        assert [sending.send(b"x", soon()).outcome for _ in range(5)] == ["ok"] * 5
        assert len(connections) == 1


def test_no_redirect_is_followed() -> None:
    with listening(b"") as (elsewhere, reached):
        answer = f"HTTP/1.1 308 Permanent Redirect\r\nLocation: {elsewhere}\r\nContent-Length: 0\r\n\r\n"
        with listening(answer.encode()) as (url, _), closing(raw(url)) as sending:
            assert sending.send(b"x", soon()).outcome == "refused"
        assert reached == []


@pytest.mark.parametrize("answer", [b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort"])
def test_an_answer_that_is_none_is_worth_another_try(answer: bytes) -> None:
    clock = FakeClock()
    with listening(answer) as (url, _), closing(raw(url, clock)) as sending:
        assert sending.send(b"x", clock.monotonic() + 0.5).outcome == "retry"


def test_a_good_answer_with_a_page_in_it_is_good() -> None:
    page = b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n<html></html>"
    with listening(page) as (url, _), closing(raw(url)) as sending:
        assert sending.send(b"x", soon()) == Result("ok")


# TLS.


@pytest.fixture
def secure(certificates: Files) -> Iterator[CaptureServer]:
    with CaptureServer(Certificates(certificates.server, certificates.server_key)) as server:
        yield server


@pytest.fixture
def mutual(certificates: Files) -> Iterator[CaptureServer]:
    with CaptureServer(Certificates(certificates.server, certificates.server_key, certificates.ca)) as server:
        yield server


@both
def test_tls(secure: CaptureServer, certificates: Files, protocol: Protocol) -> None:
    assert send(secure, protocol, CERTIFICATE=certificates.ca) == Result("ok")
    assert [request.body for request in secure.requests] == [PAYLOAD]


@both
def test_a_stranger_is_not_sent_to(secure: CaptureServer, certificates: Files, protocol: Protocol) -> None:
    result = send(secure, protocol, CERTIFICATE=certificates.other_ca)
    assert result.outcome == "retry"
    assert "certificate verify failed" in result.reason.lower().replace("_", " ")
    assert secure.requests == []


@both
def test_mutual_tls(mutual: CaptureServer, certificates: Files, protocol: Protocol) -> None:
    trust = {"CERTIFICATE": certificates.ca}
    assert send(mutual, protocol, **trust).outcome == "retry"
    ours = {"CLIENT_CERTIFICATE": certificates.client, "CLIENT_KEY": certificates.client_key}
    assert send(mutual, protocol, **trust, **ours) == Result("ok")
    assert len(mutual.requests) == 1


@both
@pytest.mark.parametrize("setting", ["CERTIFICATE", "CLIENT_CERTIFICATE"])
def test_a_file_that_cannot_be_read_names_its_variable(
    secure: CaptureServer, certificates: Files, protocol: Protocol, setting: str
) -> None:
    files = {
        "CERTIFICATE": certificates.ca,
        "CLIENT_CERTIFICATE": certificates.client,
        "CLIENT_KEY": certificates.client_key,
    }
    with pytest.raises(ConfigError, match=rf"OTEL_EXPORTER_OTLP_{setting} .*nowhere\.pem.*No such file") as caught:
        send(secure, protocol, **(files | {setting: "nowhere.pem"}))
    assert "OTEL_EXPORTER_OTLP_LOGS_" + setting in str(caught.value)
