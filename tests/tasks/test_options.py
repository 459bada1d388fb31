"""Options of ``@task``: what each does to a call, what its run looks like, and what is refused."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import multiprocessing
import operator
import os
import random
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, assert_type

import pytest
from hypothesis import given
from hypothesis import strategies as st

import otel_events
from otel_events import RecoverableError, current_context, current_run, task, workflow
from otel_events.inprocess import process
from otel_events.inprocess.faults import faults
from otel_events.model.telemetry import SpanData
from otel_events.tasks import cache, deadline, fingerprint
from otel_events.tasks.deadline import AttemptEnded, Deadline
from otel_events.testing import CaptureServer
from tests.patience import PATIENCE


@pytest.fixture(scope="module")
def receiver() -> Iterator[CaptureServer]:
    with CaptureServer() as server:
        yield server


@pytest.fixture
def collector(receiver: CaptureServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CaptureServer]:
    receiver.clear()
    monkeypatch.setenv("OTEL_EVENTS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("otel_events.inprocess.faults._faults", {})
    otel_events.configure(tmp_path / "journal.db", environ=receiver.environ("http/protobuf"))
    yield receiver
    process.shutdown()


def spans(collector: CaptureServer) -> list[SpanData]:
    process.shutdown()
    return sorted(collector.spans(), key=lambda one: (one.start, one.attributes["otel_events.attempt"]))


def told(collector: CaptureServer, *names: str) -> list[tuple[object, ...]]:
    """Attributes of each span, by start."""
    return [tuple(one.attributes.get(f"otel_events.{name}") for name in names) for one in spans(collector)]


# --- retries ---------------------------------------------------------------------------------------------------------


def test_each_attempt_is_a_span_linked_to_the_one_before(collector: CaptureServer) -> None:
    seen = []

    @task(name="flaky", retries=3)
    def flaky(number: int) -> int:
        seen.append(current_context().attempt)
        if len(seen) < 3:
            raise ValueError(f"try {len(seen)}")
        return number

    assert flaky(7) == 7
    assert seen == [1, 2, 3]
    first, second, third = spans(collector)
    assert [one.attributes["otel_events.outcome"] for one in (first, second, third)] == [
        "failed",
        "failed",
        "succeeded",
    ]
    assert len({one.attributes["otel_events.run.id"] for one in (first, second, third)}) == 1
    assert [link.span_id for link in second.links] == [first.span_id]
    assert [link.span_id for link in third.links] == [second.span_id]
    assert [link.attributes["otel_events.link"] for link in third.links] == ["retries"]


def test_the_last_error_comes_out_as_it_was(collector: CaptureServer) -> None:
    errors = [ValueError("one"), ValueError("two")]

    @task(name="breaks", retries=1)
    def breaks() -> None:
        raise errors[current_context().attempt - 1]

    with pytest.raises(ValueError, match="two") as caught:
        breaks()
    assert caught.value is errors[1]
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)
    assert told(collector, "attempt", "outcome") == [(1, "failed"), (2, "failed")]


@pytest.mark.parametrize(
    ("on", "attempts"),
    [
        (Exception, 3),
        (KeyError, 1),
        ((KeyError, ValueError), 3),
        (RecoverableError, 1),
        (lambda error: "again" in str(error), 3),
        (lambda error: False, 1),
    ],
)
def test_which_errors_are_tried_again(on: Any, attempts: int, collector: CaptureServer) -> None:
    @task(name="breaks", retries=2, retry_on=on)
    def breaks() -> None:
        raise ValueError("again, please")

    with pytest.raises(ValueError, match="again"):
        breaks()
    assert len(spans(collector)) == attempts


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, asyncio.CancelledError])
def test_what_ends_a_program_is_not_tried_again(error: type[BaseException], collector: CaptureServer) -> None:
    @task(name="ends", retries=5)
    def ends() -> None:
        raise error

    with pytest.raises(error):
        ends()
    assert len(spans(collector)) == 1


def test_coroutines_are_tried_again_too(collector: CaptureServer) -> None:
    @task(name="flaky", retries=2)
    async def flaky() -> int:
        await asyncio.sleep(0)
        if (attempt := current_context().attempt) < 3:
            raise OSError(attempt)
        return attempt

    async def main() -> list[int]:
        return list(await asyncio.gather(flaky(), flaky()))

    assert asyncio.run(main()) == [3, 3]
    assert sorted(told(collector, "attempt", "outcome")) == [
        *[(1, "failed")] * 2,
        *[(2, "failed")] * 2,
        *[(3, "succeeded")] * 2,
    ]


def test_children_are_of_the_attempt_that_called_them(collector: CaptureServer) -> None:
    @task(name="leaf")
    def leaf() -> None: ...

    @workflow(name="outer", retries=1)
    def outer() -> None:
        leaf()
        if current_context().attempt == 1:
            raise ValueError

    outer()
    found = spans(collector)
    attempts = {one.attributes["otel_events.attempt"]: one for one in found if one.name == "RUN outer"}
    leaves = [one for one in found if one.name == "leaf"]
    assert [one.parent_span_id for one in leaves] == [attempts[1].span_id, attempts[2].span_id]


def test_a_task_that_calls_itself_is_tried_again_on_each_level(collector: CaptureServer) -> None:
    @task(name="deep", retries=1)
    def deep(level: int) -> int:
        if current_context().attempt == 1:
            raise ValueError(level)
        return 0 if level == 0 else 1 + deep(level - 1)

    assert deep(3) == 3
    assert len(spans(collector)) == 8


# --- timeout ---------------------------------------------------------------------------------------------------------


def test_a_coroutine_that_takes_too_long_is_cancelled(collector: CaptureServer) -> None:
    cancelled = []

    @task(name="slow", timeout=timedelta(milliseconds=20))
    async def slow() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    with pytest.raises(TimeoutError, match=r"slow took more than 0\.02 s"):
        asyncio.run(slow())
    assert cancelled == [True]
    [span] = spans(collector)
    assert (span.attributes["otel_events.outcome"], span.attributes["error.type"]) == ("timed_out", "TimeoutError")
    assert span.attributes["otel_events.task.timeout"] == 0.02


def _timed_from(begun: Callable[[float], object], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the time of functions run from when they have begun: on a busy machine it is over before that."""

    class Begun(deadline._Work):
        def __init__(self, function: Callable[[], object], name: str) -> None:
            super().__init__(function, name)
            assert begun(PATIENCE)

    monkeypatch.setattr(deadline, "_Work", Begun)


def test_a_function_that_takes_too_long_is_ended_at_its_next_step(
    collector: CaptureServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("otel_events.tasks.deadline.PATIENCE", PATIENCE)
    inside, ended, cleaned = threading.Event(), threading.Event(), threading.Event()
    _timed_from(inside.wait, monkeypatch)

    @task(name="slow", timeout=0.02)
    def slow() -> None:
        try:
            inside.set()
            while True:
                with contextlib.suppress(Exception):  # what handles errors does not keep it alive
                    pass
        except AttemptEnded:
            ended.set()
            raise
        finally:
            cleaned.set()

    with pytest.raises(TimeoutError, match=r"^slow took more than 0\.02 s$"):
        slow()
    assert ended.is_set()
    assert cleaned.is_set()
    assert told(collector, "outcome", "task.left_running") == [("timed_out", None)]


def test_what_cannot_be_ended_goes_on_and_the_caller_too(
    collector: CaptureServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("otel_events.tasks.deadline.PATIENCE", 0.01)
    done, inside, go = threading.Event(), threading.Lock(), threading.Lock()
    inside.acquire()
    go.acquire()
    _timed_from(lambda seconds: inside.acquire(timeout=seconds), monkeypatch)

    @task(name="slow", timeout=0.02)
    def slow() -> str:
        try:
            calls: tuple[Callable[[], object], ...] = (inside.release, go.acquire)
            any(map(operator.call, calls))  # in C: no step of Python code in all of it
        except AttemptEnded:
            done.set()
        return "late"

    with pytest.raises(TimeoutError, match="cannot be ended from outside and goes on in its thread"):
        slow()
    go.release()
    assert done.wait(PATIENCE)
    assert told(collector, "outcome", "task.left_running") == [("timed_out", True)]


@pytest.mark.parametrize("seed", range(20))
def test_a_function_that_ends_as_its_time_does_has_one_ending(seed: int) -> None:
    """Whoever wins, nothing is raised in the thread after that, or left to be."""
    rng = random.Random(seed)
    failures: list[object] = []
    before = threading.excepthook
    threading.excepthook = failures.append
    try:
        for _ in range(20):
            seconds = rng.uniform(0.0001, 0.002)
            with contextlib.suppress(TimeoutError):
                assert Deadline("race", seconds).call(functools.partial(_spin, seconds)) == seconds
    finally:
        threading.excepthook = before
    assert failures == []


def _spin(seconds: float) -> float:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass
    return seconds


TRACED = """
import sys, threading
from otel_events import task

inside, go = threading.Lock(), threading.Lock()
inside.acquire()
go.acquire()

@task(timeout=0.02)
def spins():
    while True:
        pass

@task(timeout=0.02)
def blocks():
    inside.release()
    go.acquire()  # in C

def timed_out(function):
    try:
        function()
    except TimeoutError:
        return True

def trace():
    sys.settrace(lambda *event: None)  # as a debugger does, and what measures coverage

if sys.argv[1] == "afterwards":
    assert timed_out(spins)
    trace()
else:
    trace()
    assert timed_out(blocks)
    go.release()
assert timed_out(lambda: None) is None
"""


@pytest.mark.parametrize("when", ["afterwards", "meanwhile"])
def test_a_timeout_does_not_stop_a_program_that_is_traced(when: str) -> None:
    """On Python 3.11 a traced thread stands still while an exception waits to be raised in another one: for ever, where
    one was taken back."""
    subprocess.run([sys.executable, "-c", TRACED, when], check=True, timeout=PATIENCE)


def test_what_is_in_time_is_as_without(collector: CaptureServer) -> None:
    error = KeyError("mine")

    @task(name="quick", timeout=PATIENCE)
    def quick(fails: bool) -> str:
        run = current_run()
        assert run is not None
        if fails:
            raise error
        return run.name

    assert quick(False) == "quick"
    with pytest.raises(KeyError) as caught:
        quick(True)
    assert caught.value is error
    assert told(collector, "outcome") == [("succeeded",), ("failed",)]


def test_a_timeout_of_the_functions_own_stays_its_own(collector: CaptureServer) -> None:
    @task(name="own", timeout=PATIENCE)
    async def own() -> None:
        raise TimeoutError("mine")

    with pytest.raises(TimeoutError, match=r"^mine$"):
        asyncio.run(own())


def test_each_attempt_has_its_own_time(collector: CaptureServer) -> None:
    @task(name="slow", timeout=0.02, retries=1)
    async def slow() -> int:
        if current_context().attempt == 1:
            await asyncio.Event().wait()
        return 2

    assert asyncio.run(slow()) == 2
    assert told(collector, "attempt", "outcome") == [(1, "timed_out"), (2, "succeeded")]


# --- cache -----------------------------------------------------------------------------------------------------------


def test_a_hit_is_a_reused_run_linked_to_the_one_that_filled_it(collector: CaptureServer) -> None:
    calls = []

    @task(name="square", cache=True, cache_version="1")
    def square(number: int, debug: bool = False) -> int:
        calls.append(number)
        return number**2

    assert [square(3), square(3), square(number=3, debug=False), square(4), square(3, True)] == [9, 9, 9, 16, 9]
    assert calls == [3, 4, 3]
    found = spans(collector)
    assert [one.attributes["otel_events.cache.status"] for one in found] == [
        *("populated", "hit", "hit", "populated", "populated")
    ]
    filled, hit = found[0], found[1]
    assert hit.attributes["otel_events.reused"] is True
    assert [(one.span_id, one.trace_id, one.attributes["otel_events.link"]) for one in hit.links] == [
        (filled.span_id, filled.trace_id, "cached_from")
    ]
    assert "otel_events.run.duration" not in hit.attributes  # it did not run
    assert {
        one.labels["status"]: one.value for one in collector.metrics() if one.name == "otel_events_cache_total"
    } == {
        "populated": 3,
        "hit": 2,
    }


def test_what_the_key_is_made_of(collector: CaptureServer) -> None:
    calls: list[str] = []

    def make(name: str, version: str, ignored: tuple[str, ...] = ()) -> Any:
        @task(name=name, cache=True, cache_version=version, cache_ignore_input_vars=ignored)
        def one(x: object, at: int = 0) -> object:
            calls.append(name + version)
            return x

        return one

    make("a", "1")(1)
    make("a", "1")(1)  # another function of the same definition
    make("a", "2")(1)
    make("b", "1")(1)
    make("a", "1")(1.0)
    make("c", "1", ("at",))(1, at=5)
    make("c", "1", ("at",))(1, at=6)
    assert calls == ["a1", "a2", "b1", "a1", "c1"]


def test_a_function_without_a_signature_runs_without_the_cache(
    collector: CaptureServer, caplog: pytest.LogCaptureFixture
) -> None:
    whole = task(name="whole", cache=True, cache_version="1")(int)
    assert [whole("3"), whole("3")] == [3, 3]
    assert told(collector, "outcome") == [("succeeded",)] * 2
    assert "no signature found" in caplog.text


def test_errors_are_not_kept(collector: CaptureServer) -> None:
    @task(name="breaks", cache=True, cache_version="1", retries=1)
    def breaks() -> int:
        if current_context().attempt == 1:
            raise ValueError
        return 5

    assert (breaks(), breaks()) == (5, 5)
    assert told(collector, "outcome", "cache.status") == [
        ("failed", "miss"),
        ("succeeded", "populated"),
        ("succeeded", "hit"),
    ]


def test_coroutines_are_cached(collector: CaptureServer) -> None:
    calls = []

    @task(cache=True, cache_version="1", cache_serialize=True)
    async def double(number: int) -> int:
        calls.append(number)
        await asyncio.sleep(0.01)
        return number * 2

    async def main() -> list[int]:
        return list(await asyncio.gather(*(double(4) for _ in range(3))))

    assert asyncio.run(main()) == [8, 8, 8]
    assert calls == [4]


def test_serialized_runs_wait_for_each_other_across_threads_and_processes(
    collector: CaptureServer, tmp_path: Path
) -> None:
    """Else each of them would find nothing kept, and run."""
    log = tmp_path / "log"

    @task(name="slow", cache=True, cache_version="1", cache_serialize=True)
    def slow(number: int) -> int:
        with log.open("a") as file:
            file.write("ran\n")
        time.sleep(0.05)
        return number

    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=slow, args=(1,)) for _ in range(2)]
    threads = [threading.Thread(target=slow, args=(1,)) for _ in range(2)]
    for one in (*processes, *threads):
        one.start()  # type: ignore[attr-defined]  # both have it
    for one in (*processes, *threads):
        one.join()  # type: ignore[attr-defined]  # as above
    assert log.read_text() == "ran\n"


class Unpicklable:
    def __reduce__(self) -> Any:
        raise RuntimeError("not me")

    def __repr__(self) -> str:
        raise RuntimeError("nor this")


@pytest.mark.parametrize("where", ["input", "result", "deep", "folder", "damaged"])
def test_a_cache_that_fails_is_counted_and_the_task_runs(
    where: str, collector: CaptureServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    @task(name="runs", cache=True, cache_version="1")
    def runs(x: object) -> object:
        return Unpicklable() if where == "result" else 5

    given: object = {"input": Unpicklable(), "deep": _nested(10_000)}.get(where, 1)
    if where == "folder":
        (tmp_path / "cache").mkdir(mode=0o777)
        (tmp_path / "cache").chmod(0o777)
    if where == "damaged":
        (tmp_path / "cache").mkdir(mode=0o700)
        (tmp_path / "cache" / "cache.db").write_bytes(b"no database" * 1000)
    for _ in range(3):
        assert runs(given) == 5 or where == "result"
    assert faults()[cache.FAULT] >= 3
    assert len([one for one in caplog.records if cache.FAULT in one.getMessage()]) == 1
    assert {one[0] for one in told(collector, "outcome")} == {"succeeded"}


def _nested(levels: int) -> list[Any]:
    found: list[Any] = []
    for _ in range(levels):
        found = [found]
    return found


def test_the_folder_is_its_users_alone(collector: CaptureServer, tmp_path: Path) -> None:
    @task(cache=True, cache_version="1")
    def one() -> int:
        return 1

    one()
    assert stat.S_IMODE((tmp_path / "cache").stat().st_mode) == 0o700


@dataclasses.dataclass
class Point:
    x: int
    y: object = None


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner) | inner.map(lambda v: Point(1, v))
    ),
    max_leaves=8,
)


def _same(one: object, other: object) -> bool:
    """Equal with all types alike: what one key may stand for."""
    return repr(one) == repr(other)


@given(VALUES, VALUES)
def test_keys_differ_where_values_do(one: object, other: object) -> None:
    keys = [fingerprint.key("n", "1", {"x": value}) for value in (one, other)]
    if _same(one, other):
        assert keys[0] == keys[1]
    elif not (isinstance(one, dict) and one == other):
        assert keys[0] != keys[1]


@given(st.dictionaries(st.text(), st.integers(), min_size=2), st.sets(st.text(), min_size=2))
def test_no_order_shows_in_a_key_that_a_value_does_not_have(mapping: dict[str, int], group: set[str]) -> None:
    turned = dict(reversed(mapping.items())), {*sorted(group, reverse=True)}
    assert fingerprint.key("n", "1", {"a": mapping, "b": group}) == fingerprint.key(
        "n", "1", dict(zip("ab", turned, strict=True))
    )


def test_keys_are_the_same_in_another_process() -> None:
    code = (
        "from otel_events.tasks import fingerprint\n"
        "print(fingerprint.key('n', '1', {'x': {'b': {'c', 'a', 'zz'}, 'a': (1, 2.5, None)}, 'y': b'1'}))"
    )
    made = {
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert made == {
        "df15b7ed323a34032e60d5c27e3470fc7e7912b31b3ef9c4d8c291535cc37287\n"
    }  # and in those to come: a key that changes empties every cache


# --- the others ------------------------------------------------------------------------------------------------------


def test_what_else_is_told(collector: CaptureServer) -> None:
    @task(name="told", interruptible=True, attributes={"team": "data"}, retries=1)
    def one() -> None: ...

    one()
    [span] = spans(collector)
    assert (span.name, span.attributes["team"]) == ("told", "data")
    assert span.attributes["otel_events.task.interruptible"] is True
    assert span.attributes["otel_events.task.retries"] == 1


def nothing(x: int = 0, y: int = 0) -> int:
    return x


def steps(x: int = 0) -> Iterator[int]:
    yield x


WRONG: tuple[tuple[dict[str, Any], type[Exception], str], ...] = (
    ({"retries": "3"}, TypeError, "retries"),
    ({"retries": True}, TypeError, "retries"),
    ({"retries": -1}, ValueError, "retries"),
    ({"retries": 1.5}, TypeError, "retries"),
    ({"retry_on": "ValueError"}, TypeError, "retry_on"),
    ({"retry_on": int}, TypeError, "retry_on"),
    ({"retry_on": (ValueError, 3)}, TypeError, "retry_on"),
    ({"timeout": "5s"}, TypeError, "timeout"),
    ({"timeout": True}, TypeError, "timeout"),
    ({"timeout": -1}, ValueError, "timeout"),
    ({"timeout": timedelta(days=-1)}, ValueError, "timeout"),
    ({"timeout": float("nan")}, ValueError, "timeout"),
    ({"timeout": float("inf")}, ValueError, "timeout"),
    ({"cache": 1}, TypeError, "cache"),
    ({"cache": True}, ValueError, "cache_version"),
    ({"cache": True, "cache_version": ""}, ValueError, "cache_version"),
    ({"cache": True, "cache_version": 1}, TypeError, "cache_version"),
    ({"cache_version": "1"}, ValueError, "cache_version"),
    ({"cache_serialize": True}, ValueError, "cache_serialize"),
    ({"cache": True, "cache_version": "1", "cache_serialize": "yes"}, TypeError, "cache_serialize"),
    ({"cache": True, "cache_version": "1", "cache_ignore_input_vars": "x"}, TypeError, "cache_ignore_input_vars"),
    ({"cache": True, "cache_version": "1", "cache_ignore_input_vars": (1,)}, TypeError, "cache_ignore_input_vars"),
    ({"cache": True, "cache_version": "1", "cache_ignore_input_vars": ("z",)}, ValueError, "cache_ignore_input_vars"),
    ({"cache_ignore_input_vars": ("x",)}, ValueError, "cache_ignore_input_vars"),
    ({"interruptible": "no"}, TypeError, "interruptible"),
    ({"name": 5}, TypeError, "name"),
    ({"attributes": [("a", 1)]}, TypeError, "attributes"),
    ({"attributes": {"a": object()}}, TypeError, "attributes"),
    ({"attributes": {1: "a"}}, TypeError, "attributes"),
    ({"enable_deck": 1}, TypeError, "enable_deck"),
    ({"deck_fields": "Input"}, TypeError, "deck_fields"),
    ({"deck_fields": ("Output", "Nonsense")}, ValueError, "deck_fields"),
    ({"retrys": 3}, TypeError, "retrys"),
)


@pytest.mark.parametrize(("given", "error", "field"), WRONG, ids=lambda value: None)
@pytest.mark.parametrize("decorate", [task, workflow])
def test_a_wrong_option_is_refused_by_name_when_the_function_is_decorated(
    decorate: Any, given: dict[str, Any], error: type[Exception], field: str
) -> None:
    with pytest.raises(error, match=field):
        decorate(**given)(nothing)


@pytest.mark.parametrize(
    "given",
    [{"retries": 1}, {"timeout": 1}, {"cache": True, "cache_version": "1"}],
    ids=lambda value: next(iter(value)),
)
def test_a_generator_takes_no_option_that_needs_a_result(given: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=next(iter(given))):
        task(**given)(steps)


def test_only_what_can_be_called_can_be_decorated() -> None:
    with pytest.raises(TypeError, match="str"):
        task("name")  # type: ignore[call-overload]  # the mistake itself


def test_types_are_kept_with_options(collector: CaptureServer) -> None:
    """Checked by mypy, which runs over the tests."""

    @task(retries=1, timeout=timedelta(seconds=PATIENCE), name="typed")
    def one(x: int, *, y: str = "") -> float:
        return x / 2

    @workflow(retries=1)
    async def two(x: int) -> list[str]:
        return [str(x)]

    assert_type(one(1, y="a"), float)
    assert_type(asyncio.run(two(1)), list[str])
    with pytest.raises(TypeError):
        one("1")  # type: ignore[arg-type]  # mypy sees it, as Python does
