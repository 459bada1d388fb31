"""The instrumentor on the real flytekit: every shape of local run, pods, and the examples of its monitoring guide."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from flyteidl.core import errors_pb2, literals_pb2

from otel_events.gateway.gateway import Gateway, GatewayConfig
from otel_events.model.event import AnyEvent
from otel_events.model.identity import span_id, trace_id
from otel_events.otlp import from_env
from otel_events.sources import decoder
from otel_events.testing import CaptureServer
from tests.live.envs import ROOT, python
from tests.server.serving import serving

PROGRAMS = Path(__file__).parent / "flytekit_programs"
GUIDE = ROOT / "tests" / "golden" / "flytekit" / "monitoring"
SHAPES = "tests.live.flytekit_programs.shapes.shapes."
Tree = tuple[Any, ...]


@pytest.fixture
def collector() -> Iterator[CaptureServer]:
    with CaptureServer() as server:
        yield server


@pytest.fixture
def environ(collector: CaptureServer, tmp_path: Path) -> dict[str, str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("OTEL_", "FLYTE", "PYTHON"))}
    return clean | collector.environ("http/protobuf") | {"HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}


def run(environ: dict[str, str], *command: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [str(part) for part in command],
        env=environ, cwd=cwd, capture_output=True, text=True, check=False, timeout=150,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return done


def trees(collector: CaptureServer) -> list[Tree]:
    """(name, kind, outcome, parts in order of time...) of each outermost span; kind "" for a user's."""
    spans = sorted(collector.spans(), key=lambda span: span.start)
    assert len({span.span_id for span in spans}) == len(spans), "a span was sent twice"
    known = {span.span_id for span in spans}

    def below(parent: bytes) -> list[Tree]:
        return [tree(span) for span in spans if span.parent_span_id == parent]

    def tree(span: Any) -> Tree:
        told = span.attributes
        name = span.name.removeprefix(SHAPES)
        return (name, told.get("otel_events.kind", ""), told.get("otel_events.outcome", ""), *below(span.span_id))

    return [tree(span) for span in spans if span.parent_span_id not in known]


def node(name: str, *parts: Tree, outcome: str = "succeeded") -> Tree:
    return (name, "node", outcome, *parts)


def task(name: str, *parts: Tree, outcome: str = "succeeded") -> Tree:
    return (name, "task", outcome, *parts)


def flow(name: str, *parts: Tree, outcome: str = "succeeded") -> Tree:
    return (f"RUN {name}", "workflow", outcome, *parts)


def whole(name: str, *parts: Tree) -> Tree:
    """A node and its task."""
    return node(name, task(name, *parts))


PLUS = whole("plus")
INNER = node("inner", PLUS, PLUS)
EXPECTED: list[Tree] = [
    task("plus"),
    flow("shapes.linear", PLUS, INNER, PLUS),
    flow("shapes.dynamically", whole("fans_out", PLUS, PLUS)),
    flow("shapes.maps", node("map plus", task("map plus", task("map plus"), task("map plus"), task("map plus")))),
    flow(
        "shapes.maps_with_failures",
        node(
            "map fails",
            task("map fails", task("map fails"), task("map fails", outcome="failed"), task("map fails")),
        ),
    ),
    flow("shapes.chooses", PLUS),
    flow("shapes.caches", whole("kept")),
    flow("shapes.caches", node("kept")),
    flow("shapes.waits", node("sleep-gate"), PLUS),
    flow("imperative", PLUS, PLUS),
    flow("shapes.plans", INNER),
    flow("shapes.inner", PLUS, PLUS),
    task("reports"),
    task("eagerly", whole("slowly"), whole("slowly")),
    flow("shapes.breaks", node("fails", task("fails", outcome="failed"), outcome="failed"), outcome="failed"),
]


def plain(tree: Tree) -> Tree:
    """Names of map tasks without the digest that flytekit gives them."""
    name = tree[0]
    if "map_" in name:
        name = "map " + name.rpartition("map_")[2].split("_")[0]
    return (name, *tree[1:3], *(plain(part) for part in tree[3:]))


@pytest.mark.parametrize("how", ["by flytekit's plug-in", "by opentelemetry-instrument"])
def test_every_shape_of_run(how: str, collector: CaptureServer, environ: dict[str, str]) -> None:
    interpreter = python("flytekit")
    before = [interpreter.with_name("opentelemetry-instrument")] if "opentelemetry" in how else []
    done = run(environ, *before, interpreter, PROGRAMS / "shapes.py")
    assert "'linear': 9" in done.stdout
    assert [plain(tree) for tree in trees(collector)] == EXPECTED
    spans = collector.spans()
    assert Counter(span.attributes.get("otel_events.cache.status") for span in spans if span.name == "kept") == {
        "populated": 1,
        "hit": 1,
    }
    (hit,) = (span for span in spans if span.attributes.get("otel_events.cache.status") == "hit")
    assert hit.attributes["otel_events.reused"] is True
    assert Counter(span.attributes.get("flyte.launch_plan", "") for span in spans)["nightly"] == 2
    (broken,) = (span for span in spans if span.name.endswith("shapes.fails") and span.status and len(span.events) > 5)
    assert broken.attributes["error.type"] == "ValueError"


def test_timed_phases_stats_and_logs(collector: CaptureServer, environ: dict[str, str]) -> None:
    run(environ, python("flytekit"), PROGRAMS / "shapes.py")
    (reports,) = (span for span in collector.spans() if span.name == f"{SHAPES}reports")
    timed = [event for event in reports.events if event.name == "flyte.timeit"]
    names = [event.attributes["flyte.timeit.name"] for event in timed]
    assert {"Execute user level code", "Translate the output to literals", "dispatch execute"} <= set(names)
    assert all(reports.start <= event.time <= reports.end for event in timed)
    assert all(float(event.attributes["flyte.timeit.wall_time"]) >= 0 for event in timed)
    points = {point.name.removeprefix("otel_events_stat_"): point for point in collector.metrics()}
    assert (points["rows_read_total"].value, points["rows_now"].value) == (3, 3)
    assert (points["waited_seconds"].sum, points["worked_seconds"].count) == (0.25, 1)
    (line,) = (log for log in collector.logs() if log.body == "read 3 rows")
    assert (line.trace_id, line.span_id) == (reports.trace_id, reports.span_id)


def test_threads_other_sources_and_users_spans(collector: CaptureServer, environ: dict[str, str]) -> None:
    done = run(environ, python("flytekit"), PROGRAMS / "threads.py")
    assert done.stdout.split()[-3:] == [str(sum(number * 10 + 2 for number in range(8))), "102", "202"]
    found = trees(collector)

    def one(number: int) -> Tree:
        name = "tests.live.flytekit_programs.threads.threads.plus"
        parts = [node("plus", task(name, (f"within {at}", "", ""))) for at in (number, number + 1)]
        return flow("threads.twice", *parts)

    assert Counter(found[:8]) == Counter(one(number * 10) for number in range(8))
    assert found[8:] == [task("outer", one(100)), ("mine", "", "", one(200))]
    assert len({span.trace_id for span in collector.spans()}) == 10


def test_uninstrument_restores_everything(environ: dict[str, str]) -> None:
    quiet = {key: value for key, value in environ.items() if not key.startswith("OTEL_")}
    done = run(quiet, python("flytekit"), PROGRAMS / "restored.py")
    assert done.stdout.split() == ["restored", "True"]


EXAMPLES = {
    "deck": "print(my_monitored_task(a=1, b=2))",
    "stats": "print(process_data(data_size=1))",
    "logging": "analyze_results(results={'a': 1})",
}
"""Code blocks of flytekit's monitoring guide that are true of flytekit 1.16, and a call of each."""


@pytest.mark.parametrize("name", list(EXAMPLES))
def test_examples_of_the_monitoring_guide_run_unchanged(
    name: str, collector: CaptureServer, environ: dict[str, str], tmp_path: Path
) -> None:
    program = tmp_path / "example.py"
    program.write_text((GUIDE / f"{name}.txt").read_text() + f"\n\n{EXAMPLES[name]}\n")
    run(environ, python("flytekit"), program, cwd=tmp_path)
    (tree,) = trees(collector)
    assert tree[1:] == ("task", "succeeded")
    told = {point.name for point in collector.metrics()}
    stats = {"data_processed_count_total", "current_data_size", "data_processing_time_seconds"}
    assert (
        {f"otel_events_stat_{stat}" for stat in stats} <= told if name == "stats" else "otel_events_runs_total" in told
    )
    lines = {log.body for log in collector.logs() if log.attributes.get("logger") == "user_space"}
    assert lines == (
        {"Starting analysis for results: dict_keys(['a'])", "Analysis complete."} if name == "logging" else set()
    )


def test_the_example(collector: CaptureServer, environ: dict[str, str]) -> None:
    done = run(environ, python("flytekit"), ROOT / "examples" / "flytekit_workflow.py")
    assert done.stdout.split()[-1] == "14"
    (tree,) = trees(collector)
    assert tree[:3] == ("RUN flytekit_workflow.sum_of_squares", "workflow", "succeeded")
    assert [part[0].split("_")[0] for part in tree[3:]] == ["numbers", "map", "total"]
    assert len(tree[4][3][3:]) == 4
    told = {point.name for point in collector.metrics()}
    assert {"otel_events_stat_numbers_made_total", "otel_events_stat_squaring_seconds"} <= told


# --- pods -------------------------------------------------------------------------------------------------------------

EXECUTION = "a7xk2p9qv5d8mzr3t6wb"
NAMESPACE = "flytesnacks/development"
OF_POD = {
    "FLYTE_INTERNAL_EXECUTION_PROJECT": "flytesnacks",
    "FLYTE_INTERNAL_EXECUTION_DOMAIN": "development",
    "FLYTE_INTERNAL_EXECUTION_ID": EXECUTION,
    "FLYTE_INTERNAL_TASK_PROJECT": "flytesnacks",
    "FLYTE_INTERNAL_TASK_DOMAIN": "development",
    "FLYTE_INTERNAL_TASK_NAME": "pods.train",
    "FLYTE_INTERNAL_TASK_VERSION": "v1",
    "FLYTE_ATTEMPT_NUMBER": "1",
    "HOSTNAME": f"{EXECUTION}-n0-1",
}


def execute(environ: dict[str, str], tmp_path: Path, inputs: literals_pb2.LiteralMap, kind: str = "execute") -> Path:
    """One task in a pod's environment; the folder that it leaves its outputs in."""
    (tmp_path / "inputs.pb").write_bytes(inputs.SerializeToString())
    out = tmp_path / "metadata" / "propeller" / f"flytesnacks-development-{EXECUTION}" / "n0" / "data" / "1"
    resolver = {
        "execute": (
            "flytekit.core.python_auto_container.default_task_resolver",
            "task-module",
            "pods",
            "task-name",
            "train",
        ),
        "map-execute": (
            "flytekit.core.array_node_map_task.ArrayNodeMapTaskResolver",
            *("vars", "", "resolver", "flytekit.core.python_auto_container.default_task_resolver"),
            *("task-module", "pods", "task-name", "train"),
        ),
    }[kind]
    command = python("flytekit").with_name(f"pyflyte-{kind}")
    given = ("--inputs", tmp_path / "inputs.pb", "--output-prefix", out, "--raw-output-data-prefix", tmp_path / "raw")
    run(OF_POD | environ, command, *given, "--resolver", resolver[0], "--", *resolver[1:], cwd=PROGRAMS)
    return out


def number(value: int) -> literals_pb2.Literal:
    scalar = literals_pb2.Scalar(primitive=literals_pb2.Primitive(integer=value))
    return literals_pb2.Literal(scalar=scalar)


def ids(run_id: str) -> tuple[bytes, bytes]:
    """Trace and span as the gateway derives them of the second attempt."""
    return trace_id("flyte", NAMESPACE, f"{NAMESPACE}/{EXECUTION}"), span_id("flyte", NAMESPACE, run_id, 2, "task")


@pytest.mark.parametrize("rows", [1, 13])
def test_a_pod_s_task_is_sent_before_it_ends_under_the_ids_of_flyte_s_events(
    rows: int, collector: CaptureServer, environ: dict[str, str], tmp_path: Path
) -> None:
    out = execute(environ, tmp_path, literals_pb2.LiteralMap(literals={"rows": number(rows)}))
    (tree,) = trees(collector)
    assert tree == task("pods.train", ("load", "", ""), outcome="succeeded" if rows == 1 else "failed")
    (span,) = (span for span in collector.spans() if span.name == "pods.train")
    run_id = f"{NAMESPACE}/{EXECUTION}/n0/pods.train"
    assert (span.trace_id, span.span_id) == ids(run_id)
    assert span.parent_span_id == span_id("flyte", NAMESPACE, f"{NAMESPACE}/{EXECUTION}/n0", 1, "node")
    assert span.attributes["flyte.generated_name"] == f"{EXECUTION}-n0-1"
    (line,) = (log for log in collector.logs() if log.body == f"training on {rows} rows")
    assert (line.trace_id, line.span_id) == ids(run_id)
    assert {point.name: point.value for point in collector.metrics()}["otel_events_stat_rows_total"] == rows
    if rows == 13:
        told = errors_pb2.ErrorDocument.FromString((out / "error.pb").read_bytes()).error
        assert (span.attributes["error.type"], span.attributes["otel_events.error.kind"]) == (told.code, "user")
        (exception,) = (event for event in span.events if event.name == "exception")
        assert exception.attributes["exception.message"] == "ValueError: thirteen"
    else:
        assert (out / "outputs.pb").exists()


def test_a_pod_of_a_map_task_is_its_element(collector: CaptureServer, environ: dict[str, str], tmp_path: Path) -> None:
    rows = literals_pb2.LiteralCollection(literals=[number(value) for value in (5, 6, 7)])
    inputs = literals_pb2.LiteralMap(literals={"rows": literals_pb2.Literal(collection=rows)})
    index = {"BATCH_JOB_ARRAY_INDEX_VAR_NAME": "INDEX", "INDEX": "2", "HOSTNAME": "fabcdefghijklmnopqrst"}
    execute(environ | index, tmp_path, inputs, "map-execute")
    (tree,) = trees(collector)
    assert tree == task("pods.train", ("load", "", ""))
    (span,) = (span for span in collector.spans() if span.name == "pods.train")
    assert (span.trace_id, span.span_id) == ids(f"{NAMESPACE}/{EXECUTION}/n0/pods.train/2")
    assert {point.name: point.value for point in collector.metrics()}["otel_events_stat_rows_total"] == 7


# --- with a gateway ---------------------------------------------------------------------------------------------------


def flyte_s_own(first: float) -> list[AnyEvent]:
    """What Flyte's control plane tells of the same execution, around ``first`` (seconds since the epoch): it heard of
    the pod before and of its end after."""
    execution = {"project": "flytesnacks", "domain": "development", "name": EXECUTION}
    node = {"executionId": execution, "nodeId": "n0"}
    task_id = {"resourceType": "TASK", "project": "flytesnacks", "domain": "development", "name": "pods.train"}

    def at(seconds: float) -> str:
        return datetime.fromtimestamp(first + seconds, UTC).isoformat().replace("+00:00", "Z")

    def task_event(phase: str, seconds: float) -> dict[str, Any]:
        told = {"taskId": task_id | {"version": "v1"}, "parentNodeExecutionId": node, "retryAttempt": 1}
        return {"event": told | {"phase": phase, "occurredAt": at(seconds)}}

    def node_event(phase: str, seconds: float) -> dict[str, Any]:
        return {"event": {"id": node, "phase": phase, "occurredAt": at(seconds), "nodeName": "train"}}

    def flow_event(phase: str, seconds: float) -> dict[str, Any]:
        return {"event": {"executionId": execution, "phase": phase, "occurredAt": at(seconds)}}

    told = [
        *(flow_event("RUNNING", -5), node_event("RUNNING", -4), task_event("QUEUED", -3), task_event("RUNNING", -2)),
        *(task_event("SUCCEEDED", 60), node_event("SUCCEEDED", 61), flow_event("SUCCEEDED", 62)),
    ]
    decode = decoder("flyte")
    return [event for record in told for event in decode(json.dumps(record).encode(), "")]


def test_with_a_gateway_a_pod_s_task_is_one_span_whoever_saw_what(
    collector: CaptureServer, environ: dict[str, str], tmp_path: Path
) -> None:
    began = int(time.time())
    config = GatewayConfig(journal=tmp_path / "gateway.db", otlp=from_env(collector.environ("http/protobuf")))
    gateway = Gateway.open(config)
    with serving(gateway) as served:
        beside = {key: value for key, value in environ.items() if not key.startswith("OTEL_")}
        beside["OTEL_EVENTS_GATEWAY"] = f"http://127.0.0.1:{served.port}"
        execute(beside, tmp_path, literals_pb2.LiteralMap(literals={"rows": number(3)}))
        gateway.offer("flyte", flyte_s_own(began))
        gateway.settle()
    gateway.drain_and_close(5)
    spans = {span.name: span for span in collector.spans()}
    assert sorted(spans) == ["RUN", "pods.train", "train"]
    assert spans["pods.train"].parent_span_id == spans["train"].span_id
    told = spans["pods.train"]
    assert (told.trace_id, told.span_id) == ids(f"{NAMESPACE}/{EXECUTION}/n0/pods.train")
    assert (told.attributes["otel_events.outcome"], told.end) == ("succeeded", (began + 60) * 10**9)
    names = Counter(event.name for event in told.events)
    assert (names["otel_events.run.finalizing"], names["otel_events.run.pending"]) == (1, 1)
    assert names["flyte.timeit"] > 3
    assert {point.name: point.value for point in collector.metrics()}["otel_events_stat_rows_total"] == 3


def test_with_a_gateway_local_runs_come_from_it(
    collector: CaptureServer, environ: dict[str, str], tmp_path: Path
) -> None:
    config = GatewayConfig(journal=tmp_path / "gateway.db", otlp=from_env(collector.environ("http/protobuf")))
    gateway = Gateway.open(config)
    with serving(gateway) as served:
        beside = {key: value for key, value in environ.items() if not key.startswith("OTEL_")}
        beside["OTEL_EVENTS_GATEWAY"] = f"http://127.0.0.1:{served.port}"
        run(beside, python("flytekit"), PROGRAMS / "shapes.py")
        gateway.settle()
    gateway.drain_and_close(5)
    assert [plain(tree) for tree in trees(collector)] == EXPECTED
