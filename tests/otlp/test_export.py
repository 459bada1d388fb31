"""Delivery: in order, nothing let go before a yes, bounded in memory and in time."""

from __future__ import annotations

import logging
import socket
import subprocess
import sys
import threading
import time
from collections import Counter, deque
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_events.otlp import Batch, Counts, Exporter, Result, from_env, sender
from otel_events.otlp.config import PREFIX, SIGNALS, Protocol, Signal
from otel_events.otlp.export import INITIAL, LONGEST
from otel_events.testing import Answer, CaptureServer, FakeClock
from tests.patience import HOURS, PATIENCE, until

PROTOCOLS: tuple[Protocol, ...] = ("grpc", "http/protobuf")
both = pytest.mark.parametrize("protocol", PROTOCOLS)
RETRY = Result("retry", "come back")


class Scripted:
    """A Sender that gives the ``answers`` in turn, then takes all; it keeps what it took."""

    timeout = 10.0

    def __init__(self, *answers: Result | Exception, signal: Signal = "traces") -> None:
        self.signal, self.answers = signal, deque(answers)
        self.tries: list[tuple[bytes, float]] = []
        self.closed = 0

    def send(self, payload: bytes, deadline: float) -> Result:
        self.tries.append((payload, deadline))
        answer = self.answers.popleft() if self.answers else Result("ok")
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self) -> None:
        self.closed += 1

    def after_fork(self) -> None:
        """There are no sockets."""


class Held(Scripted):
    """A Sender that does not return before ``let_go`` is set; ``entered`` tells that it was called."""

    def __init__(self) -> None:
        super().__init__()
        self.entered, self.let_go = threading.Event(), threading.Event()

    def send(self, payload: bytes, deadline: float) -> Result:
        self.entered.set()
        assert self.let_go.wait(PATIENCE)
        return super().send(payload, deadline)


def batch(number: int, count: int = 1, size: int = 4, signal: Signal = "traces") -> Batch:
    return Batch(signal, number.to_bytes(size), count, number)


def soon(clock: Any) -> float:
    """A deadline that a test which works does not reach."""
    return float(clock.monotonic()) + PATIENCE


class Ended:
    """``on_done`` that keeps what it is told."""

    def __init__(self) -> None:
        self.results: list[tuple[Any, Result]] = []

    def __call__(self, token: Any, result: Result) -> None:
        self.results.append((token, result))

    def tokens(self) -> list[Any]:
        return [token for token, _ in self.results]


def test_batches_are_tried_until_taken_in_order_with_doubling_pauses() -> None:
    clock, ended = FakeClock(), Ended()
    scripted = Scripted(*[RETRY] * 8)
    exporter = Exporter([scripted], ended, clock=clock, jitter=lambda: 1.0)
    assert all(exporter.offer(batch(number)) for number in range(3))
    pauses = []
    for _ in range(8):
        pauses.append(clock.until_asleep(PATIENCE))
        assert ended.results == []
        clock.advance(pauses[-1])
    assert exporter.flush(soon(clock))
    assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]
    assert [payload for payload, _ in scripted.tries] == [batch(0).payload] * 9 + [batch(1).payload, batch(2).payload]
    assert ended.results == [(number, Result("ok")) for number in range(3)]
    assert exporter.counts() == {"traces": Counts(sent=3, retried=8)}
    assert exporter.close() == []


@given(st.integers(0, 40), st.integers(0, 1023))
def test_a_pause_is_a_random_share_of_at_most_half_a_minute(tries: int, part: int) -> None:
    clock, share = FakeClock(), part / 1024
    exporter = Exporter([Scripted(*[RETRY] * (tries + 1))], clock=clock, jitter=iter([0.0] * tries + [share]).__next__)
    exporter.offer(batch(1))
    limit = min(LONGEST, INITIAL * 2**tries)
    if share:
        assert clock.until_asleep(PATIENCE) == share * limit
        clock.advance(limit)
    assert exporter.flush(soon(clock))
    assert exporter.close() == []


def test_no_number_of_failures_is_a_reason_to_give_up() -> None:
    clock, ended = FakeClock(), Ended()
    exporter = Exporter([Scripted(*[RETRY] * 1100)], ended, clock=clock, jitter=lambda: 0.0)
    exporter.offer(batch(1))
    assert exporter.flush(soon(clock))
    assert exporter.counts()["traces"] == Counts(sent=1, retried=1100)
    assert exporter.close() == []


def test_the_pauses_of_two_exporters_are_not_the_same() -> None:
    pauses = set()
    for _ in range(5):
        clock = FakeClock()
        exporter = Exporter([Scripted(RETRY)], clock=clock)
        exporter.offer(batch(1))
        pauses.add(clock.until_asleep(PATIENCE))
        exporter.close()
    assert len(pauses) == 5


def test_the_pause_that_the_endpoint_asks_for_is_kept() -> None:
    clock = FakeClock()
    exporter = Exporter([Scripted(Result("retry", "busy", after=77.5))], clock=clock, jitter=lambda: 1.0)
    exporter.offer(batch(1))
    assert clock.until_asleep(PATIENCE) == 77.5
    clock.advance(77.4)
    assert exporter.counts()["traces"] == Counts(retried=1, queued=1, queued_bytes=4, reason="busy")
    clock.advance(0.2)
    assert exporter.flush(soon(clock))
    assert exporter.close() == []


def test_a_refusal_lets_go_and_is_counted_with_its_reason() -> None:
    clock, ended = FakeClock(), Ended()
    exporter = Exporter([Scripted(Result("refused", "bad span"))], ended, clock=clock)
    exporter.offer(batch(1, count=7))
    assert exporter.flush(soon(clock))
    assert exporter.counts()["traces"] == Counts(failed=7, reason="bad span")
    exporter.offer(batch(2, count=2))
    assert exporter.flush(soon(clock))
    assert exporter.counts()["traces"] == Counts(failed=7, sent=2)
    assert ended.results == [(1, Result("refused", "bad span")), (2, Result("ok"))]
    assert exporter.close() == []


def test_what_was_not_taken_is_counted() -> None:
    clock = FakeClock()
    exporter = Exporter([Scripted(Result("ok", rejected=3, message="too old"), Result("ok", rejected=99))], clock=clock)
    exporter.offer(batch(1, count=10))
    assert exporter.flush(soon(clock))
    assert exporter.counts()["traces"] == Counts(sent=7, rejected=3, reason="too old")
    exporter.offer(batch(1, count=10))
    assert exporter.flush(soon(clock))
    assert exporter.counts()["traces"] == Counts(sent=7, rejected=13)
    assert exporter.close() == []


def test_a_full_queue_takes_no_more_until_there_is_room() -> None:
    held = Held()
    exporter = Exporter([held], limit=100)
    assert exporter.has_room()
    assert [exporter.offer(batch(number, size=40)) for number in range(5)] == [True, True, True, False, False]
    assert not exporter.has_room()
    assert exporter.counts()["traces"] == Counts(queued=3, queued_bytes=120)
    held.let_go.set()
    assert exporter.flush(soon(time))
    assert exporter.offer(batch(9, size=400))  # larger than the queue: alone it is taken
    assert exporter.flush(soon(time))
    assert exporter.close() == []
    assert [int.from_bytes(payload) for payload, _ in held.tries] == [0, 1, 2, 9]


def test_signals_do_not_wait_for_each_other() -> None:
    clock, ended = FakeClock(), Ended()
    exporter = Exporter([Scripted(*[RETRY] * 3), Scripted(signal="logs")], ended, clock=clock, jitter=lambda: 1.0)
    exporter.offer(batch(1))
    assert clock.until_asleep(PATIENCE) == 1.0
    exporter.offer(batch(2, signal="logs"))
    until(lambda: exporter.idle("logs"))
    assert ended.tokens() == [2]
    assert not exporter.idle("traces")
    with pytest.raises(KeyError):
        exporter.offer(batch(3, signal="metrics"))
    assert exporter.close() == [batch(1)]


def test_each_try_has_the_endpoints_timeout() -> None:
    clock = FakeClock()
    scripted = Scripted(RETRY)
    exporter = Exporter([scripted], clock=clock, jitter=lambda: 1.0)
    exporter.offer(batch(1))
    clock.until_asleep(PATIENCE)
    clock.advance(5)
    assert exporter.flush(soon(clock))
    assert [deadline for _, deadline in scripted.tries] == [10.0, 15.0]
    assert exporter.close() == []


def test_flush_gives_up_at_its_deadline() -> None:
    clock = FakeClock()
    exporter = Exporter([Scripted(*[RETRY] * 3)], clock=clock, jitter=lambda: 1.0)
    exporter.offer(batch(1))
    clock.until_asleep(PATIENCE)
    assert not exporter.flush(clock.monotonic())
    assert exporter.close() == [batch(1)]


def test_a_broken_sender_loses_nothing_and_is_told() -> None:
    clock = FakeClock()
    exporter = Exporter([Scripted(TypeError("a bug"))], clock=clock, jitter=lambda: 1.0)
    exporter.offer(batch(1))
    clock.until_asleep(PATIENCE)
    assert exporter.counts()["traces"].reason == "TypeError: a bug"
    clock.advance(1)
    assert exporter.flush(soon(clock))
    assert exporter.close() == []


def test_a_broken_on_done_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    clock = FakeClock()

    def broken(token: Any, result: Result) -> None:
        raise RuntimeError("not today")

    exporter = Exporter([Scripted()], broken, clock=clock)
    with caplog.at_level(logging.ERROR, "otel_events"):
        exporter.offer(batch(1))
        exporter.offer(batch(2))
        assert exporter.flush(soon(clock))
    assert exporter.counts()["traces"] == Counts(sent=2)
    assert [record.getMessage() for record in caplog.records] == [
        "on_done failed for a batch of traces that is done; go on"
    ] * 2
    assert exporter.close() == []


# Closing.


def test_close_tries_once_more_what_waits_and_goes_on_if_it_is_taken() -> None:
    clock, ended = FakeClock(), Ended()
    scripted = Scripted(RETRY)
    exporter = Exporter([scripted], ended, clock=clock, jitter=lambda: 1.0)
    exporter.offer(batch(1))
    exporter.offer(batch(2))
    clock.until_asleep(PATIENCE)
    assert exporter.close() == []
    assert ended.tokens() == [1, 2]
    assert [deadline for _, deadline in scripted.tries] == [10.0, 4.75, 4.75]  # of 5 s, a part is for closing sockets
    assert scripted.closed == 1
    assert not exporter.offer(batch(3))


def test_close_tells_what_is_left_in_order_when_the_endpoint_still_fails() -> None:
    clock, ended = FakeClock(), Ended()
    scripted = Scripted(*[RETRY] * 9)
    exporter = Exporter([scripted], ended, clock=clock, jitter=lambda: 1.0)
    for number in range(3):
        exporter.offer(batch(number))
    clock.until_asleep(PATIENCE)
    assert exporter.close() == [batch(0), batch(1), batch(2)]
    assert exporter.close() == [batch(0), batch(1), batch(2)]
    assert (len(scripted.tries), ended.results) == (2, [])


def test_a_lane_whose_thread_has_ended_is_not_begun_again_by_close() -> None:
    """The thread may be through with its last try before ``close`` looks whether one runs."""
    clock, scripted = FakeClock(), Scripted(*[RETRY] * 9)
    exporter = Exporter([scripted], clock=clock, jitter=lambda: 1.0)
    exporter.offer(batch(0))
    clock.until_asleep(PATIENCE)
    lane = exporter._lanes["traces"]
    thread = lane._thread
    assert thread
    lane.begin_to_close(clock.monotonic() + 5)
    thread.join(PATIENCE)
    assert not lane.waits_alone()
    assert exporter.close() == exporter.close() == [batch(0)]
    assert lane._thread is None
    assert len(scripted.tries) == 2


def test_close_does_not_press_an_endpoint_that_asked_for_a_pause() -> None:
    clock = FakeClock()
    scripted = Scripted(Result("retry", "busy", after=60.0))
    exporter = Exporter([scripted], clock=clock)
    exporter.offer(batch(1))
    clock.until_asleep(PATIENCE)
    assert exporter.close() == [batch(1)]
    assert len(scripted.tries) == 1


def test_what_close_has_told_as_left_is_not_done_later() -> None:
    held, ended = Held(), Ended()
    exporter = Exporter([held], ended)
    exporter.offer(batch(1))
    assert held.entered.wait(PATIENCE)
    thread = exporter._lanes["traces"]._thread
    assert exporter.close(timeout=0.05) == [batch(1)]
    held.let_go.set()
    assert thread
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert held.tries
    assert ended.results == []
    assert exporter.counts()["traces"].sent == 0


def test_close_without_ever_a_batch_starts_no_thread() -> None:
    before = threading.active_count()
    assert Exporter([Scripted()]).close() == []
    assert threading.active_count() == before


@both
@pytest.mark.parametrize("how", ["refused", "silent"])
def test_close_ends_with_a_collector_that_is_refused_or_silent(protocol: Protocol, how: str) -> None:
    """Though each request may take hours; how the time that it is given is shared out, other tests of closing hold."""
    with CaptureServer() as collector:
        endpoints = from_env(collector.environ(protocol) | {PREFIX + "TIMEOUT": str(HOURS)}).endpoints
        if how == "refused":
            collector.stop()
        collector.answers += [Answer(silent=True)] * 3
        exporter = Exporter(sender(endpoint) for endpoint in endpoints.values())
        for signal in endpoints:
            exporter.offer(batch(1, signal=signal))
        left = exporter.close(timeout=0.5)
        assert [batch.signal for batch in left] == list(endpoints)
        if how == "refused":
            collector.start()


@both
def test_an_outage_is_waited_out_and_the_order_kept(protocol: Protocol) -> None:
    ended = Ended()
    with CaptureServer() as collector:
        endpoints = from_env(collector.environ(protocol) | {PREFIX + "TIMEOUT": str(PATIENCE)}).endpoints
        exporter = Exporter([sender(endpoints["logs"])], ended, jitter=lambda: 0.01)
        collector.stop()
        numbers = range(20)
        for number in numbers:
            assert exporter.offer(Batch("logs", b"", 1, number))
        until(lambda: exporter.counts()["logs"].retried)
        assert ended.results == []
        collector.start()
        collector.answers += [Answer(http=503, grpc="UNAVAILABLE", retry_info=0.0)] * 5
        assert exporter.flush(soon(time))
        assert exporter.close() == []
    assert ended.tokens() == list(numbers)
    assert len(collector.requests) == len(numbers)


ANSWERS = st.one_of(
    st.just(RETRY),
    st.just(Result("retry", "busy", after=0.0)),
    st.just(Result("refused", "bad")),
    st.builds(lambda rejected: Result("ok", rejected=rejected), st.integers(0, 6)),
    st.just(TypeError("a bug")),
)


@given(st.lists(ANSWERS, max_size=20), st.lists(st.integers(1, 5), max_size=8))
def test_every_item_is_sent_rejected_or_failed_once_and_in_order(
    answers: list[Result | Exception], counts: list[int]
) -> None:
    clock, ended = FakeClock(), Ended()
    exporter = Exporter([Scripted(*answers)], ended, clock=clock, jitter=lambda: 0.0)
    for number, count in enumerate(counts):
        assert exporter.offer(batch(number, count))
    assert exporter.flush(soon(clock))
    assert ended.tokens() == list(range(len(counts)))
    traces = exporter.counts()["traces"]
    assert traces.sent + traces.rejected + traces.failed == sum(counts)
    assert (traces.queued, traces.queued_bytes) == (0, 0)
    assert exporter.close() == []


# Fork: in a process of its own, since its threads are counted and gRPC is used on both sides of the fork.

FORK = """
import os, stat, sys, threading, time
from otel_events.otlp import Batch, Exporter, from_env, logs_request, resource, sender
from tests.patience import PATIENCE, until

def batch(name):
    return Batch("logs", logs_request([], resource({"batch": name}), b""), 1, name)

def is_socket(number):
    try:
        return stat.S_ISSOCK(os.fstat(number).st_mode)
    except OSError:
        return False

endpoint = from_env(os.environ).endpoints["logs"]
done = []
exporter = Exporter([sender(endpoint)], lambda token, result: done.append(token), jitter=lambda: 0.01)
lane = exporter._lanes["logs"]
if sys.argv[1] != "fresh":
    exporter.offer(batch("before"))
if sys.argv[1] == "used":
    assert exporter.flush(time.monotonic() + PATIENCE)
while sys.argv[1] == "busy" and not (lane.sender._connection and lane.sender._connection.sock):
    threading.Event().wait(0.001)
with lane._held:  # the worst moment: another thread of the parent holds the lock
    child = os.fork()
if child == 0:
    counts = exporter.counts()["logs"]
    assert (counts.sent, counts.queued, threading.active_count()) == (0, 0, 1), counts
    if endpoint.protocol == "http/protobuf":  # what gRPC holds open is out of reach
        sockets = [one for one in map(int, os.listdir("/dev/fd")) if is_socket(one)]
        assert sockets == [], sockets
    exporter.offer(batch("child"))
    if sys.argv[2] == "sends":
        exporter.flush(time.monotonic() + PATIENCE)
    else:
        until(lambda: exporter.counts()["logs"].retried)
    reason = exporter.counts()["logs"].reason
    left = exporter.close(2.0)
    sends = [batch.token for batch in left] == [] and done[-1] == "child"
    tells = [batch.token for batch in left] == ["child"] and "forked after its first use" in reason
    os._exit(0 if (sends if sys.argv[2] == "sends" else tells) else 1)
status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
exporter.offer(batch("after"))
assert exporter.flush(time.monotonic() + PATIENCE)
assert exporter.close() == [] and "child" not in done and done[-1] == "after", done
sys.exit(status)
"""


@pytest.mark.parametrize(
    ("protocol", "parent", "child"),
    [
        ("http/protobuf", "fresh", "sends"),
        ("http/protobuf", "used", "sends"),
        ("http/protobuf", "busy", "sends"),  # the parent waits for an answer as it forks
        ("grpc", "fresh", "sends"),
        ("grpc", "used", "tells"),  # gRPC itself hangs there: the child keeps its batch and says why
    ],
)
def test_a_forked_child_starts_empty_and_with_its_own_connection(
    collector: CaptureServer, protocol: Protocol, parent: str, child: str
) -> None:
    busy = parent == "busy"
    if busy:
        collector.answers.append(Answer(silent=True))
    ran = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORK, parent, child],
        env=collector.environ(protocol)
        | {PREFIX + "TIMEOUT": "1" if busy else str(PATIENCE), "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    came = [resource["batch"] for resource in collector.resources()]
    sent = {"before": parent != "fresh", "child": child == "sends", "after": True}
    assert set(came) == {name for name, is_sent in sent.items() if is_sent}
    assert busy or len(came) == len(set(came))  # a second is short: what is answered later is sent again


# The end of an interpreter, where no thread can be started since Python 3.12: a program of its own as well.

AT_EXIT = """
import atexit, os, sys, threading
from otel_events.otlp import SIGNALS, Batch, Exporter, from_env, sender

def at_exit():
    try:
        threading.Thread(target=int).start()
        print("threads start here")
    except RuntimeError:
        print("no thread starts here")
    endpoints = from_env(os.environ).endpoints
    exporter = Exporter([sender(endpoints[signal]) for signal in SIGNALS])
    for signal in SIGNALS:
        for number in range(3):
            assert exporter.offer(Batch(signal, b"", 1, number))
    left = exporter.close(float(sys.argv[1]))
    print(sorted(batch.signal for batch in left))
    print({signal: counts.sent for signal, counts in sorted(exporter.counts().items())})

atexit.register(at_exit)
"""


def at_exit(collector: CaptureServer, protocol: Protocol, patience: float, **environ: str) -> list[str]:
    ran = subprocess.run(
        [sys.executable, "-c", AT_EXIT, str(patience)],
        env=collector.environ(protocol) | {"PYTHONPATH": ":".join(sys.path)} | environ,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    return ran.stdout.splitlines()


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_close_sends_on_its_own_thread_where_no_other_can_be_had(collector: CaptureServer, protocol: Protocol) -> None:
    *_, left, sent = at_exit(collector, protocol, PATIENCE)
    assert (left, sent) == ("[]", str(dict.fromkeys(sorted(SIGNALS), 3)))
    assert Counter(request.signal for request in collector.requests) == dict.fromkeys(SIGNALS, 3)


def test_a_signal_that_nobody_takes_leaves_the_others_their_share_of_the_time(collector: CaptureServer) -> None:
    """Whether they have threads or wait for each other."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        first = next(iter(SIGNALS))
        nowhere = {f"OTEL_EXPORTER_OTLP_{first.upper()}_ENDPOINT": f"http://127.0.0.1:{silent.getsockname()[1]}"}
        nowhere["OTEL_EXPORTER_OTLP_TIMEOUT"] = str(HOURS)
        *_, left, sent = at_exit(collector, "http/protobuf", 10.0, **nowhere)
    assert left == str([first] * 3)
    assert sent == str({signal: 0 if signal == first else 3 for signal in sorted(SIGNALS)})
