"""Events of this process: handed over without harm, kept while the journal fails, sent before the end."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from otel_events import configure, task
from otel_events.gateway.state import Timing
from otel_events.inprocess import process, roles
from otel_events.inprocess import queue as live
from otel_events.inprocess.queue import QUEUE, EventQueue
from otel_events.inprocess.settings import Settings
from otel_events.journal import Journal
from otel_events.model.event import AnyEvent
from otel_events.testing import Answer, CaptureServer, FakeClock
from tests.gateway import kit
from tests.gateway.kit import World, line, run_of, until, value
from tests.patience import HOURS, PATIENCE, PATIENT


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    yield
    process.shutdown()
    live.install(None)


@task(name="step")
def step(number: int) -> int:
    return number


def lines(count: int) -> list[AnyEvent]:
    return [line(run_of("w"), str(number), number) for number in range(count)]


# --- the queue -------------------------------------------------------------------------------------------------------


def test_events_come_in_order_while_many_threads_hand_them_over() -> None:
    taken: list[AnyEvent] = []
    queue = EventQueue(taken.extend, lambda: None)

    def hand_over(name: str) -> None:
        for number in range(500):
            queue.emit(line(run_of(name), str(number), number))

    threads = [threading.Thread(target=hand_over, args=(f"w{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert queue.stop(PATIENCE)
    for number in range(4):
        own = [event.id for event in taken if event.run.id == f"w{number}"]
        assert own == [f"w{number}:{i}" for i in range(500)]


def test_what_is_refused_stays_in_place_and_is_not_given_twice() -> None:
    taken: list[AnyEvent] = []
    fails = True

    def take(events: Sequence[AnyEvent]) -> None:
        if fails:
            raise OSError("full")
        taken.extend(events)

    queue = EventQueue(take, lambda: None)
    for event in lines(10):
        queue.emit(event)
    with pytest.raises(OSError, match="full"):
        queue.pump()
    fails = False
    queue.emit(line(run_of("w"), "last", 99))
    assert queue.stop(PATIENCE)
    assert [event.id for event in taken] == [*(f"w:{number}" for number in range(10)), "w:last"]


def test_a_failure_is_logged_once_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    tries: list[int] = []

    def take(events: Sequence[AnyEvent]) -> None:
        tries.append(len(events))
        raise OSError("no room")

    with caplog.at_level(logging.WARNING, "otel_events"):
        queue = EventQueue(take, lambda: None)
        queue.emit(lines(1)[0])
        until(lambda: len(tries) >= 3)
        assert queue.stop(PATIENCE)
    assert [record.getMessage() for record in caplog.records] == ["events of this process wait: no room"]


def test_what_does_not_fit_is_dropped_and_counted(world: World) -> None:
    gateway = world.open()
    gate = threading.Event()

    def take(events: Sequence[AnyEvent]) -> None:
        gate.wait(PATIENCE)
        gateway.offer("python", events)

    queue = EventQueue(take, gateway.tick, lambda count: gateway.dropped("queue_full", count))
    first = lines(1)[0]
    queue.emit(first)
    until(lambda: not queue._queue)  # the thread has it, and waits
    for _ in range(QUEUE + 7):
        queue.emit(first)
    gate.set()
    until(lambda: value(gateway, "otel_events_dropped_total", reason="queue_full") == 7)
    assert queue.stop(PATIENCE)
    assert value(gateway, "otel_events_events_accepted_total", source="python") == 1


def test_handing_over_does_not_wait_while_the_journal_is_stuck() -> None:
    gate, taken = threading.Event(), list[int]()

    def take(events: Sequence[AnyEvent]) -> None:
        gate.wait(PATIENCE)
        taken.append(len(events))

    queue = EventQueue(take, lambda: None)
    queue.emit(lines(1)[0])
    until(lambda: not queue._queue)
    for event in lines(1000):
        queue.emit(event)
    assert taken == []  # the first is stuck still: none of the others has waited for it
    gate.set()
    assert queue.stop(PATIENCE)
    assert taken == [1, 1000]


# --- configure -------------------------------------------------------------------------------------------------------


def test_runs_arrive_at_the_end_without_waiting_for_the_grace(tmp_path: Path, collector: CaptureServer) -> None:
    grace = Timing(grace=int(HOURS) * kit.SECOND)
    configure(tmp_path / "deep" / "journal.db", environ=collector.environ("grpc"), timing=grace)
    assert step(1) == 1
    process.shutdown()
    assert [one.name for one in collector.spans()] == ["step"]
    step(2)
    process.shutdown()
    assert len(collector.spans()) == 1


def test_configured_again_it_is_the_newer(tmp_path: Path, collector: CaptureServer) -> None:
    environ = collector.environ("http/protobuf")
    configure(tmp_path / "a.db", environ=environ)
    step(1)
    configure(environ=environ | {"OTEL_EVENTS_JOURNAL": str(tmp_path / "b.db")})
    step(2)
    process.shutdown()
    assert len(kit.once(collector)) == 2
    for name in ("a.db", "b.db"):
        with Journal.reader(tmp_path / name) as reader:
            assert reader.stats().roots == 1


def test_a_temporary_journal_leaves_nothing(
    tmp_path: Path, collector: CaptureServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    configure(environ=collector.environ("http/protobuf"))
    assert len(list(tmp_path.iterdir())) == 1
    step(1)
    process.shutdown()
    assert list(tmp_path.iterdir()) == []
    assert len(collector.spans()) == 1


@pytest.mark.parametrize("wrong", ["journal", "locked", "setting"])
def test_what_cannot_be_used_is_logged_and_the_host_goes_on(
    wrong: str, tmp_path: Path, collector: CaptureServer, caplog: pytest.LogCaptureFixture
) -> None:
    environ = collector.environ("http/protobuf")
    path = tmp_path / "journal.db"
    if wrong == "journal":
        (tmp_path / "file").write_text("")
        path = tmp_path / "file" / "journal.db"
    if wrong == "setting":
        environ["OTEL_EXPORTER_OTLP_PROTOCOL"] = "http/json"
    holder = Journal.open(path) if wrong == "locked" else None
    configure(path, environ=environ)
    assert step(1) == 1
    assert "the runs of this process are not recorded" in caplog.text
    if holder:
        holder.close()


def test_the_host_is_not_told_when_the_journal_fails(tmp_path: Path, collector: CaptureServer) -> None:
    configure(tmp_path / "journal.db", environ=collector.environ("http/protobuf"))
    with kit.no_room():
        for number in range(100):
            assert step(number) == number
        queue = live.installed()
        assert queue is not None
        with pytest.raises(Exception, match="journal"):
            queue.pump()
    process.shutdown()
    assert len(kit.once(collector)) == 100


# --- processes -------------------------------------------------------------------------------------------------------

SCRIPT = f"""{PATIENT}
import os, sys, otel_events
@otel_events.task(name="step")
def step(number): return number
otel_events.configure(sys.argv[1])
"""


def python(code: str, journal: Path, collector: CaptureServer) -> None:
    """Run a script that has ``step``, until it has ended."""
    environ = os.environ | collector.environ("http/protobuf") | {"OTEL_EXPORTER_OTLP_TIMEOUT": str(HOURS)}
    command = [sys.executable, "-W", "error", "-c", SCRIPT + code, str(journal)]
    subprocess.run(command, check=True, env=environ, timeout=PATIENCE)


ENDS = {
    "return": "step(1)",
    "exit": "step(1)\nsys.exit(0)",
    "thread": "import threading\nthreading.Thread(target=step, args=(1,)).start()",
    "fork": "step(1)\nif os.fork() == 0:\n    step(2)\n    sys.exit(0)\nos.wait()",
    "multiprocessing": """
import multiprocessing
def child():
    otel_events.configure(sys.argv[1] + ".child")
    step(1)
process = multiprocessing.get_context("fork").Process(target=child)
process.start()
process.join()
""",
}


@pytest.mark.parametrize("end", ENDS)
def test_a_process_sends_what_it_has_before_it_ends(end: str, tmp_path: Path, collector: CaptureServer) -> None:
    python(ENDS[end], tmp_path / "journal.db", collector)
    assert {one.name for one in collector.spans()} == {"step"}
    assert len(collector.spans()) == (2 if end == "fork" else 1)


@pytest.mark.parametrize("how", ["refused", "silent"])
def test_with_the_collector_gone_a_process_ends_and_the_next_sends(how: str, tmp_path: Path) -> None:
    """It ends, though a request may take hours."""
    with CaptureServer() as server:
        if how == "refused":
            server.stop()
        else:
            server.answers.extend([Answer(silent=True)] * 10)
        python("process.EXIT_SECONDS = 1.5\nstep(1)", tmp_path / "journal.db", server)
        if how == "refused":
            server.start()
        server.answers.clear()
        python("step(2)", tmp_path / "journal.db", server)
        assert len(kit.once(server)) == 2


def test_the_end_of_a_process_takes_its_time_and_no_more(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where all that it waits for takes as long as it may."""
    clock = FakeClock()
    monkeypatch.setattr(roles, "time", clock)
    told: list[float] = []

    class Stuck(EventQueue):
        def stop(self, patience: float = 1.0) -> bool:
            clock.advance(patience)
            return False

    class Silent:
        def take(self, events: Sequence[AnyEvent]) -> None: ...
        def tick(self) -> None: ...
        def dropped(self, count: int) -> None: ...
        def abort(self) -> None: ...

        def hurry(self, seconds: float) -> None:
            told.append(seconds)

        def finish(self, seconds: float) -> str:
            told.append(seconds)
            clock.advance(seconds)
            return ""

    quick, stuck = (kind(lambda events: None, lambda: None, thread=False) for kind in (EventQueue, Stuck))
    settings = Settings(tmp_path / "journal.db", False, "", process.IN_PROCESS, {})
    roles.SendingProcess(Silent(), settings, quick).close(5.0)
    assert (told, clock.monotonic()) == ([4.0, 5.0], 5.0)  # what is under way ends in 4, and all of it in 5
    roles.SendingProcess(Silent(), settings, stuck).close(5.0)
    assert (told[2:], clock.monotonic()) == ([4.0, 0.0], 10.0)


def test_the_time_is_that_of_the_law() -> None:
    code = "from otel_events.inprocess.process import EXIT_SECONDS\nassert EXIT_SECONDS <= 5"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=PATIENCE)
