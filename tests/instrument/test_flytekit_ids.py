"""The run of a pod is the run that Flyte's own events tell of; local runs have ids of the same shapes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from flyteidl.admin.event_pb2 import TaskExecutionEventRequest

from otel_events.core.spans import span
from otel_events.core.traces import close_all
from otel_events.instrument.flytekit import runs
from otel_events.instrument.flytekit.plugin import wanted
from otel_events.instrument.flytekit.pod import pod
from otel_events.instrument.flytekit.runs import Frame
from otel_events.model.event import AnyEvent, PhaseChange, Run
from otel_events.sources.flyte.task import decode_task
from tests.patience import PATIENCE

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "flyte"
SCENARIOS = ("happy_path", "retries_user_then_system", "subworkflow_and_launchplan", "dynamic_node", "aborted")
RECORDS = [path for name in SCENARIOS for path in sorted((GOLDEN / name).glob("*.task.pb"))]


def request(path: Path) -> Any:
    return TaskExecutionEventRequest.FromString(path.read_bytes()).event


def environ(event: Any, attempt: int, host: str = "") -> dict[str, str]:
    """What propeller gives the container of a task."""
    execution = event.parent_node_execution_id.execution_id
    return {
        "FLYTE_INTERNAL_EXECUTION_PROJECT": execution.project,
        "FLYTE_INTERNAL_EXECUTION_DOMAIN": execution.domain,
        "FLYTE_INTERNAL_EXECUTION_ID": execution.name,
        "FLYTE_INTERNAL_TASK_NAME": event.task_id.name,
        "FLYTE_INTERNAL_TASK_VERSION": event.task_id.version,
        "FLYTE_ATTEMPT_NUMBER": str(attempt),
        "HOSTNAME": host or event.metadata.generated_name,
    }


def prefix(event: Any) -> str:
    node = event.parent_node_execution_id
    execution = node.execution_id
    name = f"{execution.project}-{execution.domain}-{execution.name}"
    return f"s3://bucket/metadata/propeller/{name}/{node.node_id}/data/{event.retry_attempt}"


def told(run: Run, phase: str, time: int) -> PhaseChange:
    return PhaseChange(id=f"pod:{phase}", time=time, run=run, phase=phase, native=phase.upper())


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_pod_knows_its_attempt_as_flyte_s_events_tell_it(path: Path) -> None:
    event = request(path)
    decoded = decode_task(event)[0]
    by_host = pod(environ(event, event.retry_attempt), "")
    hashed = pod(environ(event, event.retry_attempt, "fabcdefghijklmnopqrst"), prefix(event))
    assert by_host is not None
    assert hashed is not None
    assert by_host.run == hashed.run == decoded.run
    shared = {key: value for key, value in by_host.attributes.items() if key in decoded.attributes}
    assert shared == {key: decoded.attributes[key] for key in shared}
    assert {"flyte.project", "flyte.domain", "flyte.execution", "flyte.node_id", "flyte.generated_name"} <= set(shared)


def test_what_both_tell_is_one_span() -> None:
    events: list[AnyEvent] = [
        one for path in sorted((GOLDEN / "happy_path").glob("*.task.pb")) for one in decode_task(request(path))
    ]
    found = pod(environ(request(RECORDS[0]), 0), "")
    assert found is not None
    ran = next(one for one in events if isinstance(one, PhaseChange) and one.phase == "running")
    inside = [told(found.run, "running", ran.time + 10), told(found.run, "finalizing", ran.time + 20)]
    (whole,), rest = close_all([*events, *inside])
    assert rest == []
    names = [event.name for event in span(whole.attempt, whole.where, whole.outcome).events]
    assert (whole.outcome, names.count("otel_events.run.finalizing")) == ("succeeded", 1)
    assert whole.attempt.illegal == 0


def test_an_element_of_a_map_task_is_the_sub_task_that_the_event_lists() -> None:
    paths = sorted((GOLDEN / "array_node_external_resources").glob("*.task.pb"))
    subs = {
        (one.run.id, one.run.attempt): (one.run, event)
        for path in paths
        for event in [request(path)]
        for one in decode_task(event)
        if one.run.parent_kind == "task"
    }
    assert len(subs) > 3
    for run, event in subs.values():
        index = int(run.id.rpartition("/")[2])
        found = pod(environ(event, run.attempt - 1, "pod"), prefix(event), index)
        assert found is not None
        assert (found.run, found.attributes["flyte.index"]) == (run, index)
        execution = event.parent_node_execution_id.execution_id.name
        named = f"{execution}-{event.parent_node_execution_id.node_id}-0-n{index}-{run.attempt - 1}"
        by_host = pod(environ(event, run.attempt - 1, named), "", index)
        assert by_host is not None
        assert by_host.run == run


def test_where_the_node_is_not_known_the_run_is_of_its_own_and_says_which_pod_it_was() -> None:
    event = request(RECORDS[0])
    found = pod(environ(event, 0, "fabcdefghijklmnopqrst"), "s3://bucket/elsewhere")
    assert found is not None
    assert found.run.parent is None
    assert found.run.root == decode_task(event)[0].run.root
    assert found.attributes["flyte.generated_name"] == "fabcdefghijklmnopqrst"
    assert "flyte.node_id" not in found.attributes


def test_outside_of_a_pod_there_is_none() -> None:
    full = environ(request(RECORDS[0]), 0)
    assert pod({}, "") is None
    for name in ("PROJECT", "DOMAIN", "ID"):
        assert pod(full | {f"FLYTE_INTERNAL_EXECUTION_{name}": ""}, "") is None
    assert pod(full | {"FLYTE_ATTEMPT_NUMBER": "first"}, "") is None
    short = {"_F_PRJ": "p", "_F_DM": "d", "_F_NM": "x", "_F_TK_NM": "t", "HOSTNAME": "x-n0-0", "_F_WF": "p:d:flow:v1"}
    found = pod(short, "")
    assert found is not None
    assert (found.run.id, found.run.workflow) == ("p/d/x/n0/t", "flow")


def test_ids_of_local_runs() -> None:
    root = runs.outermost("workflow", "app.flow")
    frame = Frame(root)
    one, two = runs.node(root, frame, "app.load"), runs.node(root, frame, "app.inner")
    within = runs.node(two, Frame(two), "app.save")
    task = runs.task(one, "app.load")
    dynamic = runs.node(task, Frame(task), "app.part")
    element = runs.element(task, 3)
    of_element = runs.node(element, Frame(element), "app.part")
    tails = [run.id.removeprefix(f"{root.id}/") for run in (one, two, within, task, dynamic, element, of_element)]
    assert tails == ["n0", "n1", "n1-0-n0", "n0/app.load", "n0-0-dn0", "n0/app.load/3", "n0-3-0-dn0"]
    assert (one.name, task.name, root.workflow) == ("load", "app.load", "app.flow")
    assert {run.root for run in (one, within, task, of_element)} == {root.id}
    assert (of_element.parent, of_element.parent_kind) == (element.id, "task")
    alone = runs.outermost("task", "app.load")
    assert runs.node(alone, Frame(alone), "app.part").id == f"{alone.id}/dn0"
    assert runs.node(alone, None, "app.part").id != runs.node(alone, None, "app.part").id


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, False),
        ({"OTEL_EVENTS_GATEWAY": "http://localhost:4319"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4317"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://localhost:4317"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "x", "OTEL_SDK_DISABLED": "True"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "x", "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "a, flytekit"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "x", "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "*"}, False),
    ],
)
def test_the_plug_in_works_where_telemetry_is_asked_for(given: dict[str, str], expected: bool) -> None:
    assert wanted(given) is expected


def test_without_flytekit_nothing_happens() -> None:
    code = """
import logging, sys
logging.basicConfig()
from otel_events.instrument.flytekit import FlytekitInstrumentor
FlytekitInstrumentor().instrument(skip_dep_check=True)
FlytekitInstrumentor().uninstrument()
import json; print(json.dumps([name for name in sys.modules if name.startswith("flytekit")]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=PATIENCE)
    assert (json.loads(done.stdout), done.stderr) == ([], "")
