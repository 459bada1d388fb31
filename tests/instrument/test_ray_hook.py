"""What ``ray.init`` is called with, without Ray: its setup hook, and the variables that go along."""

from __future__ import annotations

import dis
import os
import pickle
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

from otel_events.inprocess import process
from otel_events.inprocess.context import current_run, enter, leave
from otel_events.instrument import fallback
from otel_events.instrument.ray import hook
from otel_events.instrument.ray.hook import DRIVEN, HOOK, settings, setup, with_hook
from otel_events.model.event import Run
from otel_events.tasks.context import DynamicContext, TaskContext

RAN: list[str] = []


def theirs() -> None:
    RAN.append("theirs")


def test_what_is_given_stays_and_ours_is_put_beside_it() -> None:
    given = {"env_vars": {"A": "b"}}
    kwargs = {"runtime_env": given, "num_cpus": 2}
    made = with_hook((), kwargs)
    assert kwargs == {"runtime_env": {"env_vars": {"A": "b"}}, "num_cpus": 2}
    assert made["num_cpus"] == 2
    assert made["runtime_env"]["env_vars"] == {"A": "b"}
    assert callable(made["runtime_env"][HOOK])
    assert callable(with_hook((), {})["runtime_env"][HOOK])


@pytest.mark.parametrize("hook", [theirs, f"{__name__}.theirs"])
def test_a_hook_that_is_given_runs_after_ours_whatever_becomes_of_that(hook: Any) -> None:
    RAN.clear()
    setup({"OTEL_X": 5}, hook)()  # type: ignore[dict-item]  # no variable of an environment: ours fails
    assert RAN == ["theirs"]


def test_it_is_no_function_of_a_module_so_ray_pickles_it_by_value() -> None:
    with pytest.raises((AttributeError, pickle.PicklingError)):
        pickle.dumps(setup(None, None))


def test_the_hook_needs_nothing_of_our_modules() -> None:
    """A worker without otel-events must be able to unpickle it: Ray pickles functions of modules by reference."""
    function: Any = setup({"A": "b"}, "os.getcwd")
    codes = [function.__code__, *(part for part in function.__code__.co_consts if isinstance(part, CodeType))]
    read = {step.argval for code in codes for step in dis.get_instructions(code) if step.opname == "LOAD_GLOBAL"}
    assert not read & set(vars(hook))
    held = [cell.cell_contents for cell in function.__closure__]
    assert all(isinstance(value, str | dict) for value in held)


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [(("ray://head:10001",), {}), ((), {"address": "ray://head:10001"}), ((), {"runtime_env": "file.yaml"})],
)
def test_where_no_hook_can_be_put_in_all_stays(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    assert with_hook(args, kwargs) == kwargs


def test_a_job_that_was_submitted_with_a_hook_keeps_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", '{"runtime_env": {"worker_process_setup_hook": "a.b"}}')
    assert DRIVEN in os.environ
    assert with_hook((), {"num_cpus": 1}) == {"num_cpus": 1}


def test_secrets_and_places_of_this_machine_stay_here(tmp_path: Path) -> None:
    told = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4317",
        "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer hunter2",
        "OTEL_EVENTS_TOKEN": "hunter2hunter2hunter2",
        "OTEL_EVENTS_JOURNAL": "/runs.db",
        "HOME": "/home/user",
    }
    assert settings(told) is None  # nothing is configured
    process.configure(tmp_path / "j.db", environ={"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"})
    try:
        assert settings(told) == {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4317"}
    finally:
        process.shutdown()


def test_a_run_at_hand_everywhere_is_that_of_the_moment_in_what_is_handed_on() -> None:
    from concurrent.futures import ThreadPoolExecutor

    from opentelemetry import trace

    runs = [Run("ray", "task", name, name, "root") for name in ("a", "b")]
    at_hand = [runs[0]]
    undo = fallback.install(DynamicContext(lambda: at_hand[0]))
    try:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(lambda: None).result()
            assert pool.submit(current_run).result() == runs[0]
            before = trace.get_current_span().get_span_context().span_id
            at_hand[0] = runs[1]
            assert current_run() == runs[1]
            assert trace.get_current_span().get_span_context().span_id != before
            tokens = enter(TaskContext(Run("python", "task", "own", "own", "own")))
            assert (current_run() or runs[0]).id == "own"
            leave(tokens)
    finally:
        undo()
    assert current_run() is None
    assert not trace.get_current_span().get_span_context().is_valid
