"""``@task`` and ``@workflow``: every kind of function becomes a run, and behaves as it did."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import otel_events
from otel_events import current_run, task, workflow
from otel_events.inprocess import process
from otel_events.model.telemetry import ERROR, SpanData
from otel_events.testing import CaptureServer
from tests.patience import PATIENCE


class Told:
    """The spans of this process's runs, once it is asked for them: that ends the recording."""

    def __init__(self, collector: CaptureServer) -> None:
        self._collector = collector

    def spans(self) -> list[SpanData]:
        """By start."""
        process.shutdown()
        return sorted(self._collector.spans(), key=lambda one: one.start)

    def outcomes(self) -> list[tuple[str, str]]:
        """(name less this module's, outcome)."""
        return [(one.name.rpartition(".")[2], str(one.attributes["otel_events.outcome"])) for one in self.spans()]

    def one(self) -> SpanData:
        [span] = self.spans()
        return span


@pytest.fixture(scope="module")
def collector() -> Iterator[CaptureServer]:
    with CaptureServer() as server:
        yield server


@pytest.fixture
def told(collector: CaptureServer, tmp_path: Path) -> Iterator[Told]:
    collector.clear()
    otel_events.configure(tmp_path / "journal.db", environ=collector.environ("http/protobuf"))
    yield Told(collector)
    process.shutdown()


# --- what a call becomes ---------------------------------------------------------------------------------------------


@task
def double(number: int) -> int:
    """Twice."""
    return number * 2


def test_a_call_is_a_run_and_returns_what_it_returned(told: Told) -> None:
    assert double(4) == 8
    span = told.one()
    assert span.name == "tests.tasks.test_task.double"
    assert span.attributes["otel_events.kind"] == "task"
    assert span.attributes["otel_events.source"] == "python"
    assert span.attributes["otel_events.outcome"] == "succeeded"
    assert span.attributes["code.function.name"] == "tests.tasks.test_task.double"
    assert span.attributes["code.line.number"] == inspect.unwrap(double).__code__.co_firstlineno
    assert span.end >= span.start


def test_the_function_keeps_its_face() -> None:
    assert (double.__name__, double.__doc__) == ("double", "Twice.")
    assert str(inspect.signature(double)) == "(number: 'int') -> 'int'"


def test_without_configure_it_is_the_function(collector: CaptureServer) -> None:
    collector.clear()
    assert double(1) == 2
    assert collector.requests == []


def test_calls_within_calls_are_one_trace(told: Told) -> None:
    @workflow(name="nightly", attributes={"team": "data"})
    def outer() -> int:
        assert current_run() is not None
        return inner() + inner()

    @task(name="step")
    def inner() -> int:
        return double(2)

    assert outer() == 8
    assert current_run() is None
    spans = told.spans()
    root, *_ = spans
    assert [one.name for one in spans].count("step") == 2
    assert (root.name, root.parent_span_id, root.attributes["team"]) == ("RUN nightly", b"", "data")
    assert {one.trace_id for one in spans} == {root.trace_id}
    by_id = {one.span_id: one for one in spans}
    assert sorted(by_id[one.parent_span_id].name for one in spans[1:]) == ["RUN nightly", "RUN nightly", "step", "step"]
    assert {one.attributes["cicd.pipeline.name"] for one in spans} == {"nightly"}


KINDS = (
    (ValueError("broken"), "failed"),
    (TimeoutError("slow"), "timed_out"),
    (KeyboardInterrupt(), "cancelled"),
    (asyncio.CancelledError(), "cancelled"),
    (SystemExit(3), "crashed"),
    (MemoryError(), "crashed"),
    (StopIteration(7), "failed"),
    (BaseExceptionGroup("several", [ValueError("one"), KeyboardInterrupt()]), "failed"),
)


@pytest.mark.parametrize(("error", "outcome"), KINDS, ids=lambda value: type(value).__name__)
def test_exceptions_pass_through_untouched(error: BaseException, outcome: str, told: Told) -> None:
    @task(name="breaks")
    def breaks() -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        breaks()
    assert caught.value is error
    assert (error.__cause__, error.__context__) == (None, None)
    span = told.one()
    assert span.attributes["otel_events.outcome"] == outcome
    if outcome != "cancelled":
        assert span.status == ERROR
        assert span.attributes["error.type"] == type(error).__name__
        [event] = [one for one in span.events if one.name == "exception"]
        assert "breaks" in str(event.attributes["exception.stacktrace"])


def test_an_exception_that_cannot_tell_of_itself(told: Told) -> None:
    class MuteError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no words")

    @task
    def breaks() -> None:
        raise MuteError

    with pytest.raises(MuteError):
        breaks()
    assert told.one().status_message == "(its message could not be read)"


def test_secrets_in_exceptions_stay_here(told: Told) -> None:
    @task
    def breaks() -> None:
        raise ValueError("login with password=hunter2-and-more")

    with pytest.raises(ValueError, match="hunter2"):
        breaks()
    span = told.one()
    assert "hunter2" not in repr(span)
    assert span.status_message == "login with password=[redacted]"


def test_secrets_in_names_and_attributes_stay_here(told: Told) -> None:
    secret = "ghp_" + "a1" * 18

    @workflow(name=f"of {secret}", attributes={"password": "hunter2", "note": f"token={secret}"})
    def outer() -> None:
        task(name=f"in {secret}")(int)()

    outer()
    spans = told.spans()
    assert [one.name for one in spans] == ["RUN of [redacted]", "in [redacted]"]
    assert {one.attributes["cicd.pipeline.name"] for one in spans} == {"of [redacted]"}
    assert secret not in repr(spans)
    assert "hunter2" not in repr(spans)


# --- every kind of function ------------------------------------------------------------------------------------------


def test_coroutines_and_tasks_of_asyncio(told: Told) -> None:
    @task(name="leaf")
    async def leaf(number: int) -> int:
        await asyncio.sleep(0)
        run = current_run()
        assert run is not None
        await asyncio.sleep(0)
        assert current_run() is run
        return number

    @workflow(name="tree")
    async def tree() -> list[int]:
        return list(await asyncio.gather(*(leaf(number) for number in range(5))))

    assert inspect.iscoroutinefunction(leaf)
    assert asyncio.run(tree()) == [0, 1, 2, 3, 4]
    root, *leaves = told.spans()
    assert len(leaves) == 5
    assert {one.parent_span_id for one in leaves} == {root.span_id}


def test_a_cancelled_coroutine(told: Told) -> None:
    @task(name="waits")
    async def waits() -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        waiting = asyncio.create_task(waits())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(main())
    assert told.outcomes() == [("waits", "cancelled")]


@task(name="counts")
def counts(upto: int) -> Iterator[int]:
    run = current_run()
    assert run is not None
    for number in range(upto):
        double(number)
        yield number
        assert current_run() is run


def test_a_generator_runs_until_it_is_exhausted(told: Told) -> None:
    assert inspect.isgeneratorfunction(counts)
    steps = counts(2)
    assert current_run() is None
    for number in steps:
        assert current_run() is None  # between its steps runs somebody else's code
        double(number + 10)
    spans = told.spans()
    top = next(one for one in spans if one.name == "counts")
    within = [one for one in spans if one.parent_span_id == top.span_id]
    assert len(within) == 2
    assert len(spans) == 5
    assert all(top.start <= one.start <= one.end <= top.end for one in spans)


@pytest.mark.parametrize("end", ["close", "lost"])
def test_a_generator_that_is_closed_or_let_go_is_cancelled(end: str, told: Told) -> None:
    steps = counts(5)
    assert next(steps) == 0
    if end == "close":
        steps.close()  # type: ignore[attr-defined]  # an Iterator by its annotation
    del steps
    assert ("counts", "cancelled") in told.outcomes()


def test_a_generator_that_was_never_begun_is_no_run(told: Told) -> None:
    counts(5)
    assert told.spans() == []


def test_values_exceptions_and_the_result_go_through_a_generator(told: Told) -> None:
    @task(name="talks")
    def talks() -> Any:
        heard: list[Any] = []
        try:
            while True:
                heard.append((yield len(heard)))
        except KeyError as error:
            heard.append(error.args[0])
            yield "caught"
        return heard

    def user() -> Any:
        return (yield from talks())

    steps = user()
    assert [next(steps), steps.send("a"), steps.throw(KeyError("b"))] == [0, 1, "caught"]
    with pytest.raises(StopIteration) as end:
        next(steps)
    assert end.value.value == ["a", "b"]
    assert told.outcomes() == [("talks", "succeeded")]


def test_a_generator_that_fails(told: Told) -> None:
    @task(name="fails")
    def fails() -> Iterator[int]:
        yield 1
        raise ValueError("after one")

    with pytest.raises(ValueError, match="after one"):
        list(fails())
    assert told.outcomes() == [("fails", "failed")]


def test_asynchronous_generators(told: Told) -> None:
    @task(name="feed")
    async def feed(upto: int) -> AsyncIterator[int]:
        for number in range(upto):
            await asyncio.sleep(0)
            double(number)
            yield number

    async def main() -> None:
        assert [number async for number in feed(3)] == [0, 1, 2]
        early = feed(3)
        async for _ in early:
            assert current_run() is None
            break
        await early.aclose()  # type: ignore[attr-defined]  # an AsyncIterator by its annotation
        thrown = feed(3)
        await anext(thrown)
        with pytest.raises(KeyError):
            await thrown.athrow(KeyError("x"))  # type: ignore[attr-defined]  # as above

    assert inspect.isasyncgenfunction(feed)
    asyncio.run(main())
    spans = told.spans()
    tops = [one for one in spans if one.name == "feed"]
    assert [one.attributes["otel_events.outcome"] for one in tops] == ["succeeded", "cancelled", "failed"]
    assert sum(one.parent_span_id == tops[0].span_id for one in spans) == 3


class Model:
    @task
    def method(self) -> str:
        return type(self).__name__

    @task
    @classmethod
    def below_class(cls) -> str:
        return cls.__name__

    @classmethod
    @task
    def above_class(cls) -> str:
        return cls.__name__

    @task
    @staticmethod
    def below_static(word: str) -> str:
        return word

    @staticmethod
    @task
    def above_static(word: str) -> str:
        return word

    def __call__(self) -> str:
        return "called"


def test_methods_in_either_order_of_decorators(told: Told) -> None:
    model = Model()
    assert model.method() == "Model"
    assert (Model.below_class(), model.below_class(), Model.above_class(), model.above_class()) == ("Model",) * 4
    for static in (Model.below_static, model.below_static, Model.above_static, model.above_static):
        assert static("word") == "word"
    names = [one.name.removeprefix("tests.tasks.test_task.Model.") for one in told.spans()]
    assert names == ["method", *["below_class"] * 2, *["above_class"] * 2, *["below_static"] * 2, *["above_static"] * 2]


def test_callables_without_a_name_of_their_own(told: Told) -> None:
    assert task(functools.partial(double.__wrapped__, 3))() == 6  # type: ignore[attr-defined]  # functools.wraps sets it
    assert task(Model())() == "called"
    assert [one.name for one in told.spans()] == ["tests.tasks.test_task.double", "tests.tasks.test_task.Model"]


def test_a_context_of_the_threads_own_wins(told: Told) -> None:
    outside = contextvars.copy_context()

    @workflow(name="spawns")
    def spawns() -> None:
        ways: list[Callable[[], object]] = [lambda: double(1), lambda: outside.run(double, 2)]
        threads = [threading.Thread(target=way) for way in ways]
        for thread in threads:
            thread.start()
            thread.join()

    spawns()
    root, within, apart = told.spans()
    assert within.parent_span_id == root.span_id
    assert apart.parent_span_id == b""
    assert apart.trace_id != root.trace_id


def test_the_users_own_spans_are_children_of_the_span_that_is_yet_to_come(told: Told) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("mine")

    @task(name="traced")
    def traced() -> None:
        with tracer.start_as_current_span("own"):
            double(1)

    traced()
    assert trace.get_current_span() is trace.INVALID_SPAN
    provider.shutdown()
    [own] = exporter.get_finished_spans()
    top, below = told.spans()
    assert own.context is not None
    assert own.parent is not None
    assert own.context.trace_id.to_bytes(16, "big") == top.trace_id
    assert own.parent.span_id.to_bytes(8, "big") == top.span_id
    assert own.context.trace_flags.sampled
    assert below.parent_span_id == top.span_id


# --- the public names ------------------------------------------------------------------------------------------------

IMPORTS = (
    "import otel_events; otel_events.task; otel_events.workflow",
    "import otel_events.tasks.decorator",
    "from otel_events import workflow; import otel_events",
    "import otel_events; import otel_events.cli.demo",
)


@pytest.mark.parametrize("first", IMPORTS)
def test_the_decorator_is_there_whatever_was_imported_first(first: str) -> None:
    """No module of the package may take the place of a public name."""
    code = f"""{first}
@otel_events.task
def one(): return 1
@otel_events.task(name="two")
def two(): return 2
assert (one(), two(), otel_events.current_run()) == (1, 2, None)
otel_events.configure
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = "import sys, otel_events; assert not {'msgspec', 'grpc', 'opentelemetry'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_decorators_load_neither_what_sends_nor_what_caches() -> None:
    names = "grpc urllib3 http.client opentelemetry.sdk.trace google.protobuf tenacity diskcache jinja2 asyncio".split()
    code = f"""import sys
from otel_events import configure, current_context, task, workflow
@task
def one(): return current_context().attempt
assert one() == 1
assert not set({names!r}) & set(sys.modules), set({names!r}) & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("to", ["collector", "gateway"])
def test_grpc_is_not_loaded_where_nothing_goes_over_it(to: str, collector: CaptureServer) -> None:
    code = """import sys, otel_events
otel_events.configure()
otel_events.task(int)()
from otel_events.inprocess import process
process.shutdown()
assert "grpc" not in sys.modules
"""
    environ = os.environ | collector.environ("http/protobuf")
    if to == "gateway":  # nothing answers there
        environ |= {f"OTEL_{signal}_EXPORTER": "none" for signal in ("TRACES", "METRICS", "LOGS")}
        environ["OTEL_EVENTS_GATEWAY"] = "http://127.0.0.1:9"
    subprocess.run([sys.executable, "-c", code], check=True, env=environ, timeout=PATIENCE)
