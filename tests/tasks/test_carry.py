"""The run at hand goes with the work: into threads, pools and processes, which lose nothing and keep their parent."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path

import pytest

from otel_events.inprocess.faults import faults
from otel_events.model.telemetry import SpanData
from otel_events.tasks import carry
from otel_events.testing import CaptureServer
from tests.patience import PATIENCE, PATIENT

PROGRAMS = Path(__file__).parents[1] / "programs"


@pytest.fixture
def collector() -> Iterator[CaptureServer]:
    with CaptureServer() as server:
        yield server


def run(program: str, collector: CaptureServer, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """A program of its own: forks of the test's process would share its threads."""
    return subprocess.run(
        [sys.executable, str(PROGRAMS / program), *arguments],
        env=os.environ | collector.environ("http/protobuf") | more,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )


def tree(spans: list[SpanData]) -> dict[str, str]:
    """Name of each span -> name of its parent in the same trace."""
    known = {(one.trace_id, one.span_id): one.name for one in spans}
    return {one.name: known.get((one.trace_id, one.parent_span_id), "") for one in spans}


# --- ways to start work ----------------------------------------------------------------------------------------------

WAYS = (
    "thread",
    "thread-pool",
    "thread-pool-map",
    "timer",
    "asyncio-task",
    "asyncio-to-thread",
    "asyncio-executor",
    "process-pool-fork",
    "process-pool-spawn",
    "process-fork",
    "process-spawn",
    "process-forkserver",
    "pool-map-fork",
    "pool-starmap-spawn",
    "pool-of-threads",
    "os-fork",
    "subprocess",
)


@pytest.mark.parametrize("way", WAYS)
def test_what_is_started_in_a_run_is_a_part_of_it(way: str, collector: CaptureServer) -> None:
    done = run("carried.py", collector, way)
    assert (done.returncode, done.stderr) == (0, "")
    spans = collector.spans()
    assert tree(spans) == {"RUN outer": "", **{f"leaf {number}": "RUN outer" for number in range(3)}}
    assert Counter(one.name for one in spans) == Counter(tree(spans).keys())
    leaves = [one for one in spans if one.name.startswith("leaf")]
    assert {one.attributes["cicd.pipeline.name"] for one in leaves} == {"outer"}
    ended = [one for one in collector.metrics() if one.name == "otel_events_runs_total" and one.value]
    totals = {one.labels["name"]: one.value for one in ended}
    assert totals == {"outer": 1, **{f"leaf {number}": 1 for number in range(3)}}
    told = {str(one.attributes["number"]): one for one in collector.logs() if one.body == "at work"}
    by_name = {one.name: one for one in spans}
    assert {number: one.span_id for number, one in told.items()} == {
        str(number): by_name[f"leaf {number}"].span_id for number in range(3)
    }


def test_a_child_that_is_killed_loses_nothing_that_it_finished(collector: CaptureServer) -> None:
    """What a run tells at its end is with the parent before the caller goes on."""
    done = run("killed_child.py", collector)
    assert (done.returncode, done.stderr) == (0, "")
    expected = ["RUN outer", *(f"step {number}" for number in range(20))]
    assert Counter(one.name for one in collector.spans()) == Counter(expected)
    assert set(tree(collector.spans()).values()) == {"", "RUN outer"}


def test_a_child_that_outlives_its_parent_sends_for_itself(collector: CaptureServer, tmp_path: Path) -> None:
    done = run("outlives.py", collector, str(tmp_path / "journal.db"))
    assert (done.returncode, done.stderr) == (0, "")
    assert tree(collector.spans()) == {"RUN outer": "", "before": "RUN outer", "after": "RUN outer"}


def test_processes_that_name_one_journal_share_it(collector: CaptureServer, tmp_path: Path) -> None:
    """The second hands its events to the first, which sends for both."""
    code = PATIENT + (
        "import os, subprocess, sys, otel_events\n"
        "@otel_events.task(name=sys.argv[1])\ndef step(): return 1\n"
        "otel_events.configure()\nstep()\n"
        "if sys.argv[1] == 'first': subprocess.run([sys.executable, '-c', sys.argv[2], 'second'], check=True)\n"
    )
    environ = os.environ | collector.environ("http/protobuf") | {"OTEL_EVENTS_JOURNAL": str(tmp_path / "journal.db")}
    command = [sys.executable, "-c", code, "first", code]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(one.name for one in collector.spans()) == ["first", "second"]
    of_metrics = [one.message for one in collector.requests if one.signal == "metrics"]
    assert len({str(one.resource_metrics[0].resource) for one in of_metrics}) == 1


# --- what is patched -------------------------------------------------------------------------------------------------


def test_what_is_patched_is_put_back() -> None:
    before = {(owner, name): _method(owner, name) for owner, _, name in _patched()}
    undo = carry.install()
    try:
        assert all(_method(owner, name) is not original for (owner, name), original in before.items())
        carry.install()()  # a second one changes nothing, and takes nothing away
        assert all(_method(owner, name) is not original for (owner, name), original in before.items())
    finally:
        undo()
    assert {place: _method(*place) for place in before} == before


def test_a_method_that_others_patched_after_us_stays_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    original = threading.Thread.start
    undo = carry.install()
    ours = threading.Thread.start
    try:

        def theirs(self: threading.Thread) -> None:
            ours(self)

        monkeypatch.setattr(threading.Thread, "start", theirs)
        undo()
        assert threading.Thread.start is theirs
    finally:
        monkeypatch.undo()
        threading.Thread.start = original  # type: ignore[method-assign]  # as it was


def test_carrying_that_fails_is_counted_and_the_work_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("otel_events.inprocess.faults._faults", {})
    monkeypatch.setattr("otel_events.tasks.carry.InThread", None)
    undo = carry.install()
    try:
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(int, "7").result() == 7
    finally:
        undo()
    assert faults()[carry.FAULT] == 1


def _patched() -> list[tuple[type, str, str]]:
    return [(getattr(import_module(module), name), name, method) for module, name, method, _ in carry.TABLE]


def _method(owner: type, name: str) -> object:
    return owner.__dict__[name]
