"""The instrumentor on the real Flyte 2 SDK, alone and beside its own OpenTelemetry plug-in."""

from __future__ import annotations

import os
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from otel_events.model.identity import span_id, trace_id
from otel_events.testing import CaptureServer
from tests.live.envs import python

PROGRAMS = Path(__file__).parent / "flyte2_programs"
TASKS = {"shapes": 1, "plus": 4, "at_third": 3, "kept": 2, "outer": 1, "breaks": 1}
"""Spans of tasks: one for each attempt."""
HIT = "otel_events.cache.status"


class Played(NamedTuple):
    spans: list[Any]
    metrics: list[Any]
    seen: list[str]
    """Trace, span and run within the task ``outer``."""

    def tasks(self, name: str) -> list[Any]:
        found = (one for one in self.spans if one.name == f"shapes.{name}")
        return sorted(found, key=lambda one: int(one.start))


def run(place: Path, *command: object, **more: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("OTEL_", "FLYTE", "PYTHON"))}
    done = subprocess.run(
        [str(part) for part in command],
        env=clean | {"HOME": str(place)} | more, cwd=place, capture_output=True, text=True, check=False, timeout=150,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return done


def played(place: Path, *arguments: str) -> Played:
    interpreter = python("flyte2")
    with CaptureServer() as collector:
        done = run(
            place, interpreter.with_name("opentelemetry-instrument"), interpreter, PROGRAMS / "shapes.py", *arguments,
            **collector.environ("http/protobuf"),
        )  # fmt: skip
        assert "broken RuntimeUserError 'nothing there'" in done.stdout
        (seen,) = (line.split()[2:] for line in done.stdout.splitlines() if line.startswith("seen outer"))
        return Played(collector.spans(), collector.metrics(), seen)


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Played:
    return played(tmp_path_factory.mktemp("ours"))


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Played:
    return played(tmp_path_factory.mktemp("theirs"), "plugin")


@pytest.mark.parametrize("which", ["ours", "theirs"])
def test_each_attempt_is_one_span(which: str, request: pytest.FixtureRequest) -> None:
    played: Played = request.getfixturevalue(which)
    names = Counter(one.name.removeprefix("shapes.") for one in played.spans)
    assert names == TASKS | {"RUN shapes.shapes": 1, "RUN shapes.breaks": 1}
    (plus, *_), (outer,) = reversed(played.tasks("plus")), played.tasks("outer")
    assert plus.parent_span_id == outer.span_id
    (hit,) = (one for one in played.spans if one.attributes.get(HIT) == "hit")
    assert (hit.name, hit.attributes["otel_events.reused"]) == ("shapes.kept", True)


def test_attempts_errors_and_cache(ours: Played) -> None:
    tries = ours.tasks("at_third")
    assert [(one.attributes["otel_events.attempt"], one.attributes["otel_events.outcome"]) for one in tries] == [
        (1, "failed"),
        (2, "failed"),
        (3, "succeeded"),
    ]
    for number, one in enumerate(tries[:2], 1):
        (thrown,) = (event for event in one.events if event.name == "exception")
        assert thrown.attributes["exception.type"] == "ValueError"
        assert thrown.attributes["exception.message"] == f"try {number}"
        assert "in at_third" in str(thrown.attributes["exception.stacktrace"])
    assert [one.attributes[HIT] for one in ours.tasks("kept")] == ["populated", "hit"]
    (root,) = (one for one in ours.spans if one.name == "RUN shapes.breaks")
    assert (root.attributes["otel_events.outcome"], root.attributes["error.type"]) == ("failed", "KeyError")


def test_ids_are_those_that_the_gateway_derives(ours: Played) -> None:
    (outer,) = ours.tasks("outer")
    trace, span, run_id = ours.seen
    assert (outer.trace_id.hex(), outer.span_id.hex(), outer.attributes["otel_events.run.id"]) == (trace, span, run_id)
    root = run_id.rpartition("/")[0]
    assert outer.trace_id == trace_id("flyte", "/", root)
    assert outer.span_id == span_id("flyte", "/", run_id, 1, "task")


def test_the_trace_is_that_of_flytes_plugin(theirs: Played, tmp_path: Path) -> None:
    (root,) = (one for one in theirs.spans if one.name == "RUN shapes.shapes")
    name = str(root.attributes["otel_events.run.id"]).rpartition("/")[2]
    asked = (
        "from flyte.models import ActionID; from flyteplugins.otel._ids import trace_id_for_run as of;"
        f"print(format(of(ActionID(name={name!r})), '032x'))"
    )
    told = run(tmp_path, python("flyte2"), "-c", asked).stdout.strip()
    assert root.trace_id.hex() == told
    of_tasks = [one for one in theirs.spans if one.attributes.get("flyte.run_name") == name]
    assert {one.trace_id.hex() for one in of_tasks} == {told}
    assert len(of_tasks) == sum(TASKS.values()) - 2  # but for the hit, which it does not see, and the other run's
    assert not any("otel_events.kind" in one.attributes for one in of_tasks)
    (outer,) = theirs.tasks("outer")
    assert [outer.trace_id.hex(), outer.span_id.hex()] == theirs.seen[:2]


@pytest.mark.parametrize("which", ["ours", "theirs"])
def test_runs_and_stats_are_counted(which: str, request: pytest.FixtureRequest) -> None:
    played: Played = request.getfixturevalue(which)
    last = {(one.name, *sorted(one.labels.items())): one for one in played.metrics}
    counted: Counter[tuple[Any, Any]] = Counter()
    for one in last.values():
        if one.name == "otel_events_runs_total":
            counted[one.labels["kind"], one.labels["outcome"]] += int(one.value)
    assert +counted == {("task", "succeeded"): 9, ("task", "failed"): 1, ("workflow", "succeeded"): 1, ("workflow", "failed"): 1}  # fmt: skip  # noqa: E501  # one row
    assert sum(one.value for one in last.values() if one.name == "otel_events_stat_added_total") == 4


def test_what_is_interrupted_is_cancelled_and_let_go_of(tmp_path: Path) -> None:
    interpreter = python("flyte2")
    with CaptureServer() as collector:
        command = (interpreter.with_name("opentelemetry-instrument"), interpreter, PROGRAMS / "interrupted.py")
        assert "left 0" in run(tmp_path, *command, **collector.environ("http/protobuf")).stdout
        ends = Counter((one.name, one.attributes.get("otel_events.outcome")) for one in collector.spans())
    assert ends == {("RUN interrupted.gives_up", "cancelled"): 1, ("interrupted.gives_up", "cancelled"): 1}


def test_uninstrument_restores_everything(tmp_path: Path) -> None:
    assert run(tmp_path, python("flyte2"), PROGRAMS / "restored.py").stdout.splitlines()[-1] == "restored"


def test_with_no_collector_the_program_is_unharmed(tmp_path: Path) -> None:
    interpreter = python("flyte2")
    nowhere = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}
    command = (interpreter.with_name("opentelemetry-instrument"), interpreter, PROGRAMS / "shapes.py")
    assert "broken RuntimeUserError 'nothing there'" in run(tmp_path, *command, **nowhere).stdout
