"""Execution spans: the exact text of flytekit's format, recorded runs of every shape, and what cannot be read."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC
from pathlib import Path
from typing import Any

import pytest
import yaml
from flyteidl.admin.execution_pb2 import WorkflowExecutionGetMetricsResponse
from flyteidl.core.metrics_pb2 import Span as CoreSpan
from hypothesis import given
from hypothesis import strategies as st

from otel_events import ExecutionSpan
from otel_events.journal import Journal
from otel_events.model.errors import ConfigError, DecodeError, RunNotFound
from otel_events.model.event import AnyEvent, PhaseChange, Run
from otel_events.views.execution_span.yaml import dumped
from otel_events.views.explain import LEVELS
from tests.cli.conftest import Cli, cli  # noqa: F401 - a fixture
from tests.strategies import SECOND, START

SPANS = Path(__file__).parents[1] / "golden" / "flyte" / "spans"
HEAD = (
    "operation                start_timestamp          end_timestamp             duration    entity\n"
    + "-" * 140
    + "\n"
)
RETRY = """\
WORKFLOW_SETUP           11-14 22:13:20.000000    11-14 22:13:21.000000        1.00s    workflow/exec1
NODE_SETUP               11-14 22:13:21.000000    11-14 22:13:22.000000        1.00s      node/n0
TASK_SETUP               11-14 22:13:22.000000    11-14 22:13:23.000000        1.00s        task/0
TASK_RUNTIME             11-14 22:13:23.000000    11-14 22:13:25.500000        2.50s        task/0
TASK_TEARDOWN            11-14 22:13:25.500000    11-14 22:13:26.000000        0.50s        task/0
NODE_RESET               11-14 22:13:26.000000    11-14 22:13:27.000000        1.00s      node/n0
TASK_SETUP               11-14 22:13:27.000000    11-14 22:13:28.000000        1.00s        task/1
TASK_RUNTIME             11-14 22:13:28.000000    11-14 22:13:29.000000        1.00s        task/1
NODE_TEARDOWN            11-14 22:13:29.000000    11-14 22:13:30.000000        1.00s      node/n0
WORKFLOW_TEARDOWN        11-14 22:13:30.000000    11-14 22:13:31.000000        1.00s    workflow/exec1
"""
RETRY_DUMP = """\
exec1:
  breakdown:
    NODE_RESET: 1.0
    NODE_SETUP: 1.0
    NODE_TEARDOWN: 1.0
    TASK_RUNTIME: 3.5
    TASK_SETUP: 2.0
    TASK_TEARDOWN: 0.5
    WORKFLOW_SETUP: 1.0
    WORKFLOW_TEARDOWN: 1.0
  nodes:
    n0:
      breakdown:
        NODE_RESET: 1.0
        NODE_SETUP: 1.0
        NODE_TEARDOWN: 1.0
        TASK_RUNTIME: 3.5
        TASK_SETUP: 2.0
        TASK_TEARDOWN: 0.5
      task_attempts:
        0:
          breakdown:
            TASK_RUNTIME: 2.5
            TASK_SETUP: 1.0
            TASK_TEARDOWN: 0.5
        1:
          breakdown:
            TASK_RUNTIME: 1.0
            TASK_SETUP: 1.0

"""


def explained(span: ExecutionSpan) -> str:
    out = io.StringIO()
    span.explain(UTC, out)
    return out.getvalue()


def rows(span: ExecutionSpan) -> list[tuple[str, float, str]]:
    """(operation, seconds, entity with its indent) of each row."""
    lines = explained(span).splitlines()[2:]
    return [(line[:25].strip(), float(line[76:83]), line[88:]) for line in lines]


def message() -> Any:
    return CoreSpan.FromString((SPANS / "retry_span.pb").read_bytes())


def forms() -> dict[str, Any]:
    span_message = message()
    text = (SPANS / "retry_span.json").read_text()
    answer = WorkflowExecutionGetMetricsResponse(span=span_message)
    return {
        "message": span_message,
        "bytes": span_message.SerializeToString(),
        "JSON as text": text,
        "JSON as bytes": b"  " + text.encode(),
        "JSON as dict": json.loads(text),
        "answer": answer,
        "answer as JSON": {"span": json.loads(text)},
    }


@pytest.mark.parametrize("form", list(forms()))
def test_a_flyte_span_in_each_form_prints_as_flytekit_prints_it(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    span = ExecutionSpan.from_flyte(forms()[form])
    span.explain(UTC)
    assert capsys.readouterr().out == HEAD + RETRY
    span.dump()
    assert capsys.readouterr().out == RETRY_DUMP


def test_a_time_that_is_missing_shows_as_such_and_counts_nothing() -> None:
    span_message = message()
    span_message.spans[1].spans[0].ClearField("end_time")
    span_message.spans[0].start_time.seconds = -62135596800  # Go's zero time
    span = ExecutionSpan.from_flyte(span_message)
    lines = explained(span).splitlines()[2:4]
    assert lines[0].split() == ["WORKFLOW_SETUP", "-", "11-14", "22:13:21.000000", "-", "workflow/exec1"]
    assert lines[1].split() == ["NODE_SETUP", "11-14", "22:13:21.000000", "-", "-", "node/n0"]
    assert span.data()["exec1"]["breakdown"]["NODE_SETUP"] == 0.0


def deep(levels: int) -> Any:
    top = CoreSpan()
    at = top
    for _ in range(levels - 1):
        at.workflow_id.name = "w"
        at = at.spans.add()
    at.operation_id = "WORKFLOW_SETUP"
    at.start_time.seconds, at.end_time.seconds = 10, 12
    return top


def test_the_deepest_that_is_read_is_printed() -> None:
    span = ExecutionSpan.from_flyte(deep(LEVELS))
    assert rows(span) == [("WORKFLOW_SETUP", 2.0, "  " * (LEVELS - 2) + "workflow/w")]
    out = io.StringIO()
    span.dump(out)
    assert out.getvalue().count("WORKFLOW_SETUP: 2.0") == LEVELS - 1


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (b"\x0a\xff", "core.Span"),
        (b"{", "JSON"),
        (b"{" * 100_000, "JSON"),
        ('{"startTime": "soon"}', "core.Span"),
        ({"spans": [{"spans": 3}]}, "core.Span"),
        ({"span": 3}, "core.Span"),
        (3, "int is no span"),
        (deep(LEVELS + 1), "levels deep"),
        (deep(3).spans[0].start_time, "google.protobuf.Timestamp is no"),
        (CoreSpan(end_time={"seconds": 2**62}), "no date"),
        (b" " * (65 << 20), "67108864 at most"),
    ],
    ids=lambda value: str(value)[:20] if isinstance(value, str) else type(value).__name__,
)
def test_what_is_no_span_is_refused_with_what_to_do(given: Any, says: str) -> None:
    with pytest.raises(DecodeError, match=says):
        ExecutionSpan.from_flyte(given)


def test_control_characters_of_foreign_names_do_not_reach_the_terminal() -> None:
    span = CoreSpan(operation_id="x\x1b[2J", start_time={"seconds": 1}, end_time={"seconds": 2})
    assert "\x1b" not in explained(ExecutionSpan.from_flyte(span))


TREES = st.recursive(
    st.one_of(st.floats(allow_nan=False), st.integers()),
    lambda inner: st.dictionaries(st.one_of(st.text(max_size=40), st.integers()), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(max_size=150), TREES, min_size=1, max_size=3))
def test_the_yaml_reads_back_as_the_data(data: dict[Any, Any]) -> None:
    assert yaml.safe_load(dumped(data)) == data


@given(st.dictionaries(st.text(max_size=150), st.dictionaries(st.text(), st.floats(allow_nan=False)), min_size=1))
def test_the_yaml_is_that_of_pyyaml(data: dict[Any, Any]) -> None:
    assert dumped(data) == yaml.dump(data, indent=2)


def test_nothing_of_yaml_is_replaced() -> None:
    before = yaml.emitter.Emitter.process_tag
    ExecutionSpan.from_flyte(message()).dump(io.StringIO())
    assert yaml.emitter.Emitter.process_tag is before


def python(kind: str, id_: str, parent: Run | None = None, attempt: int = 1) -> Run:
    if parent is None:
        return Run("python", kind, id_, f"app.{id_}", id_, workflow=f"app.{id_}")  # type: ignore[arg-type]  # a literal
    of = (parent.root, parent.id, attempt, "", parent.workflow, parent.kind)
    return Run("python", kind, id_, f"app.{id_}", *of)  # type: ignore[arg-type]  # as above


def recorded_events(run: Run, *phases: tuple[str, float]) -> list[AnyEvent]:
    """An event for each ``phase[:native word]`` at that second."""
    events: list[AnyEvent] = []
    for word, second in phases:
        phase, _, native = word.partition(":")
        id_ = f"{run.id}{run.attempt}{word}"
        when = START + int(second * SECOND)
        events.append(PhaseChange(id=id_, time=when, run=run, phase=phase, native=native or phase))
    return events


def journal(path: Path, *events: Sequence[AnyEvent]) -> Path:
    with closing(Journal.open(path)) as writer:
        writer.append([event for some in events for event in some])
    return path


FLOW = python("workflow", "flow")


def test_a_recorded_run_is_split_into_its_operations(tmp_path: Path) -> None:
    first, again = python("task", "load", FLOW), python("task", "load", FLOW, attempt=2)
    whole = journal(
        tmp_path / "j.db",
        recorded_events(FLOW, ("pending", 0), ("running", 1), ("finalizing", 19), ("succeeded", 20)),
        recorded_events(first, ("pending", 2), ("pending:INITIALIZING", 3), ("running", 4), ("failed", 5)),
        recorded_events(again, ("running", 7), ("paused", 8), ("running:again", 9), ("succeeded", 10)),
        recorded_events(python("task", "save", FLOW), ("running", 12), ("finalizing", 15), ("succeeded", 16)),
    )
    assert rows(ExecutionSpan.of("flow", whole)) == [
        ("WORKFLOW_QUEUE", 1.0, "workflow/flow"),
        ("WORKFLOW_SETUP", 1.0, "workflow/flow"),
        ("TASK_QUEUE", 1.0, "    task/0"),
        ("TASK_SETUP", 1.0, "    task/0"),
        ("TASK_RUNTIME", 1.0, "    task/0"),
        ("NODE_RESET", 2.0, "  node/app.load"),
        ("TASK_RUNTIME", 1.0, "    task/1"),
        ("TASK_IDLE", 1.0, "    task/1"),
        ("TASK_RUNTIME", 1.0, "    task/1"),
        ("WORKFLOW_IDLE", 2.0, "workflow/flow"),
        ("TASK_RUNTIME", 3.0, "    task/0"),
        ("TASK_TEARDOWN", 1.0, "    task/0"),
        ("WORKFLOW_TEARDOWN", 4.0, "workflow/flow"),
    ]
    data = ExecutionSpan.of("flow", whole).data()["flow"]
    assert data["nodes"]["app.load"]["breakdown"] == {
        "TASK_QUEUE": 1.0, "TASK_SETUP": 1.0, "TASK_RUNTIME": 3.0, "NODE_RESET": 2.0, "TASK_IDLE": 1.0,
    }  # fmt: skip
    assert sum(data["breakdown"].values()) == 20.0
    assert list(data["nodes"]["app.load"]["task_attempts"]) == [0, 1]


def test_a_task_of_tasks_has_as_runtime_what_they_do_not_cover(tmp_path: Path) -> None:
    outer = python("task", "outer", FLOW)
    whole = journal(
        tmp_path / "j.db",
        recorded_events(FLOW, ("running", 0), ("succeeded", 10)),
        recorded_events(outer, ("running", 0), ("succeeded", 10)),
        recorded_events(python("task", "a", outer), ("running", 2), ("succeeded", 6)),
        recorded_events(python("task", "b", outer), ("running", 3), ("succeeded", 4)),
    )
    printed_rows = rows(ExecutionSpan.of("outer", whole))
    assert printed_rows == [
        ("TASK_RUNTIME", 2.0, "  task/0"),
        ("TASK_RUNTIME", 4.0, "      task/0"),
        ("TASK_RUNTIME", 1.0, "      task/0"),
        ("TASK_RUNTIME", 4.0, "  task/0"),
    ]


def test_what_has_no_length_is_there_and_names_that_are_taken_are_numbered(tmp_path: Path) -> None:
    twice = [python("task", id_, FLOW) for id_ in ("x1", "x2")]
    named = [Run(run.source, run.kind, run.id, "same", run.root, run.parent, parent_kind="workflow") for run in twice]
    whole = journal(
        tmp_path / "j.db",
        recorded_events(FLOW, ("running", 0), ("succeeded", 2)),
        recorded_events(named[0], ("succeeded", 1)),
        recorded_events(named[1], ("succeeded", 1)),
    )
    data = ExecutionSpan.of("flow", whole).data()["flow"]
    assert list(data["nodes"]) == ["same", "same#2"]
    assert data["nodes"]["same#2"] == {
        "breakdown": {"TASK_RUNTIME": 0.0},
        "task_attempts": {0: {"breakdown": {"TASK_RUNTIME": 0.0}}},
    }


def test_a_run_that_is_under_way_ends_at_the_last_that_was_heard_of_it(tmp_path: Path) -> None:
    task = python("task", "load", FLOW)
    whole = journal(
        tmp_path / "j.db", recorded_events(FLOW, ("running", 0)), recorded_events(task, ("pending", 1), ("running", 3))
    )
    assert rows(ExecutionSpan.of("flow", whole)) == [("TASK_QUEUE", 2.0, "    task/0")]


def test_runs_of_any_depth_are_shown(tmp_path: Path) -> None:
    chain: list[AnyEvent] = recorded_events(FLOW, ("running", 0), ("succeeded", 1))
    above = FLOW
    for level in range(600):
        above = python("task", f"t{level}", above)
        chain += recorded_events(above, ("running", 0), ("succeeded", 1))
    span = ExecutionSpan.of("flow", journal(tmp_path / "j.db", chain))
    names = {entity.strip() for _, _, entity in rows(span)}
    assert names == {"task/0"}
    out = io.StringIO()
    span.dump(out)
    assert out.getvalue().count("app.t") == 600


def test_several_runs_without_one_over_them_stand_side_by_side(tmp_path: Path) -> None:
    lost = [python("task", id_, python("workflow", "gone")) for id_ in ("a", "b")]
    whole = journal(
        tmp_path / "j.db", *(recorded_events(run, ("running", n), ("succeeded", n + 1)) for n, run in enumerate(lost))
    )
    assert list(ExecutionSpan.of("gone", whole).data()[""]["nodes"]) == ["app.a", "app.b"]


def test_a_run_that_is_not_there_or_not_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "j.db"
    journal(
        path,
        recorded_events(python("workflow", "n1"), ("running", 0)),
        recorded_events(python("workflow", "n2"), ("running", 0)),
    )
    monkeypatch.setenv("OTEL_EVENTS_JOURNAL", str(path))
    with pytest.raises(RunNotFound, match="otel-events runs"):
        ExecutionSpan.of("missing")
    with pytest.raises(ConfigError, match="2 runs fit"):
        ExecutionSpan.of("n")


def test_the_command_prints_both(cli: Cli, tmp_path: Path) -> None:  # noqa: F811 - the fixture of that name
    path = journal(tmp_path / "j.db", recorded_events(FLOW, ("running", 0), ("succeeded", 2)))
    span = ExecutionSpan.of("flow", path)
    assert cli("explain", "flow", "--journal", path, "--format", "flyte", "--utc").out == explained(span)
    dump = cli("dump", "flow", "--journal", path, "--format", "flyte")
    assert yaml.safe_load(dump.out) == {"flow": {"breakdown": {"WORKFLOW_RUNTIME": 2.0}}}
    refused = cli("dump", "flow", "--journal", path, "--format", "flyte", "--json")
    assert (refused.code, "leave out --json" in refused.err) == (2, True)
