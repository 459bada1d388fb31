"""get_metadata of recorded runs: of Ray's workflows as Ray has it, of every other source with the same keys."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import otel_events
from otel_events.intake.ingest import decode_records
from otel_events.journal import Journal
from otel_events.model.errors import ConfigError, JournalError, RunNotFound
from otel_events.model.event import AnyEvent, Link, Log, Run
from otel_events.sources import decoder
from otel_events.sources.ray_workflow.decode import decode
from otel_events.sources.ray_workflow.poll import records
from otel_events.views.metadata import get_metadata, get_status, list_all
from tests.cli.conftest import Cli, cli
from tests.gateway.kit import NOON, SECOND, change, golden, run_of
from tests.sources.ray_workflow_kit import CAPTURES, GONE, build, stage

__all__ = ["cli"]

NOON_S = NOON / SECOND


def journalled(path: Path, events: Sequence[AnyEvent]) -> str:
    with closing(Journal.open(path)) as writer:
        writer.append(list(events))
    return str(path)


def asked(call: list[str], **where: str) -> dict[str, Any]:
    try:
        return {"result": get_metadata(*call, **where)}
    except ValueError as error:
        return {"error": [f"{type(error).__module__}.{type(error).__qualname__}", str(error)]}


def test_the_seed_s_two_dictionaries(tmp_path: Path) -> None:
    storage = str(build(tmp_path, stage("seed workflow")))
    assert otel_events.get_metadata("trip1", storage=storage) == {
        "status": "SUCCESSFUL",
        "user_metadata": {"k2": "v2"},
        "stats": {"start_time": 1795219701.1858776, "end_time": 1795219703.285964},
    }
    task = otel_events.get_metadata("trip1", "trip", storage=storage)
    assert task.pop("stats") == {"start_time": 1795219703.2803364, "end_time": 1795219703.2808607}
    assert task == {
        "task_id": "trip",
        "task_options": {
            "task_type": "FUNCTION", "max_retries": 3, "catch_exceptions": False, "retry_exceptions": False,
            "checkpoint": True,
            "ray_options": {"_metadata": {"workflow.io/options": {"task_id": "trip", "metadata": {"k1": "v1"}}}},
        },
        "user_metadata": {"k1": "v1"},
        "workflow_refs": [],
    }  # fmt: skip


def test_recorded_workflows_of_ray_tell_what_ray_tells(tmp_path: Path) -> None:
    """All that is over, from the journal alone: equal but for the ends that Ray does not write."""
    events = [event for _, record in records(str(build(tmp_path / "ray"))) for event in decode(record)]
    journal = journalled(tmp_path / "journal.db", events)
    compared = 0
    for capture in CAPTURES:
        if stage(capture["label"]) or capture["label"] in GONE or capture["call"][0] in ("opts2", "q3", "team", ""):
            continue
        given = asked(capture["call"], journal=journal)
        if "result" in given and "end_time" not in capture["result"]["stats"]:
            given["result"]["stats"].pop("end_time", None)
        assert given == {key: capture[key] for key in given}, capture["label"]
        compared += 1
    assert compared == 65
    assert get_status("killed1", journal=journal) == "RUNNING"
    assert list_all("FAILED", journal=journal) == [(f, "FAILED") for f in ("sys1", "retry2", "fail2", "fail1")]


@pytest.fixture
def batch(tmp_path: Path) -> str:
    """A workflow of tasks of one name, one of which was tried twice and depends on the other; one open; one alone."""
    top = run_of("night/1", kind="workflow", name="nightly", source="events", workflow="nightly")
    first, last = (run_of(f"night/1/{own}", "night/1", name="load", source="events") for own in ("a", "b"))
    again = run_of("night/1/b", "night/1", 2, name="load", source="events")
    follows = (Link("depends_on", "night/1/a", "task", "night/1"), Link("launched_by", "x", "task", "x"))
    open_ = run_of("night/2", kind="workflow", name="nightly", source="events")
    return journalled(
        tmp_path / "journal.db",
        [
            change(top, "pending", 0), change(top, "running", 1, attributes={"team": "a", "code.function.name": "f"}),
            change(top, "timed_out", 9),
            change(first, "running", 2), change(first, "succeeded", 3),
            change(last, "running", 4), change(last, "failed", 5),
            change(again, "running", 6, links=follows), change(again, "crashed", 7),
            change(run_of("night/1/c", "night/1", name="sum", source="events"), "skipped", 8),
            change(open_, "pending", 20),
            change(run_of("alone", name="lone"), "running", 30),
            change(run_of("cluster", kind="node"), "running", 30),
            Log(id="word", time=NOON, run=Run("events", "task", "chat", "", "chat"), message="nothing ran"),
        ],
    )  # fmt: skip


def test_any_source_has_the_same_keys(batch: str) -> None:
    assert get_metadata("night/1", journal=batch) == {
        "status": "FAILED",
        "user_metadata": {"team": "a"},
        "stats": {"start_time": NOON_S + 1, "end_time": NOON_S + 9},
    }
    assert get_metadata("night/1", "load_1", journal=batch) == {
        "task_id": "load_1",
        "task_options": {
            "task_type": "FUNCTION", "max_retries": None, "catch_exceptions": None, "retry_exceptions": None,
            "checkpoint": None, "ray_options": {},
        },
        "user_metadata": {},
        "workflow_refs": ["load"],
        "stats": {"start_time": NOON_S + 6, "end_time": NOON_S + 7},
    }  # fmt: skip
    assert get_metadata("night/1", "night/1/b", journal=batch)["task_id"] == "load_1"
    assert get_metadata("night/1", "sum", journal=batch)["stats"] == {}
    assert get_metadata("night/2", journal=batch) == {"status": "PENDING", "user_metadata": {}, "stats": {}}
    assert get_metadata("alone", journal=batch)["stats"] == {"start_time": NOON_S + 30}


@pytest.mark.parametrize(
    ("call", "answer"),
    [
        (["nope"], "No such workflow_id 'nope'"),
        (["nope", "x"], "No such workflow_id 'nope'"),
        (["night/1", "x"], "No such task_id 'x' in workflow 'night/1'"),
        (["night/1/a"], "No such workflow_id 'night/1/a'"),
        (["chat"], "No such workflow_id 'chat'"),
        (["cluster"], "No such workflow_id 'cluster'"),
        (["alone", "lone"], "No such task_id 'lone' in workflow 'alone'"),
        (["night"], "No such workflow_id 'night'"),
        ([""], "No such workflow_id ''"),
    ],
)
def test_unknown_ids_are_told_in_ray_s_words(batch: str, call: list[str], answer: str) -> None:
    assert asked(call, journal=batch) == {"error": ["builtins.ValueError", answer]}


def test_lists_and_status(batch: str) -> None:
    assert list_all(journal=batch) == [("alone", "RUNNING"), ("night/2", "PENDING"), ("night/1", "FAILED")]
    assert list_all({"FAILED"}, journal=batch) == [("night/1", "FAILED")]
    assert get_status("night/2", journal=batch) == "PENDING"
    with pytest.raises(RunNotFound, match=r"Workflow\[id=nope\] was referenced but doesn't exist\."):
        get_status("nope", journal=batch)
    with pytest.raises(ValueError, match="'DONE' is not a valid WorkflowStatus"):
        list_all(["DONE"], journal=batch)


def test_what_cannot_be_read_is_no_unknown_id(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="no journal at"):
        get_metadata("x", journal=str(tmp_path / "none.db"))
    with pytest.raises(ConfigError, match="no storage of Ray workflows at"):
        get_metadata("x", storage=str(tmp_path / "none"))


@pytest.mark.parametrize("source", ["flyte", "prefect"])
def test_golden_runs_of_every_source(tmp_path: Path, source: str) -> None:
    name = {"flyte": "retries_user_then_system", "prefect": "s03_retries"}[source]
    events = decode_records(source, decoder(source), golden(source, name)).events
    journal = journalled(tmp_path / "journal.db", events)
    ((workflow_id, status),) = list_all(journal=journal)
    whole = get_metadata(workflow_id, journal=journal)
    assert list(whole) == ["status", "user_metadata", "stats"]
    assert whole["status"] == status == get_status(workflow_id, journal=journal)
    tasks = {event.run.id for event in events if event.run.root == workflow_id} - {workflow_id}
    for task in tasks:
        answer = get_metadata(workflow_id, task, journal=journal)
        assert list(answer) == ["task_id", "task_options", "user_metadata", "workflow_refs", "stats"]
        assert answer["stats"].keys() == {"start_time", "end_time"}
        assert get_metadata(workflow_id, answer["task_id"], journal=journal) == answer
    assert tasks


def test_a_task_that_nothing_is_above_is_asked_for_as_a_workflow(tmp_path: Path) -> None:
    events = decode_records("clearml", decoder("clearml"), golden("clearml", "train")).events
    journal = journalled(tmp_path / "journal.db", events)
    ((task, status),) = list_all(journal=journal)
    assert status == get_status(task, journal=journal) == "SUCCESSFUL"
    answer = get_metadata(task, journal=journal)
    assert list(answer) == ["status", "user_metadata", "stats"]
    assert answer["stats"]["end_time"] > answer["stats"]["start_time"]


def test_a_workflow_inside_another(tmp_path: Path) -> None:
    inner = run_of("top/sub", "top", kind="workflow", name="sub", parent="top")
    deep = run_of("top/sub/x", "top", name="x", parent="top/sub", parent_kind="workflow")
    beside = run_of("top/y", "top", name="y", parent="top")
    runs = (run_of("top", kind="workflow"), inner, deep, beside)
    phases = list(enumerate(("running", "succeeded")))
    journal = journalled(tmp_path / "j.db", [change(run, phase, at) for run in runs for at, phase in phases])
    assert get_metadata("top/sub", "x", journal=journal)["task_id"] == "x"
    assert asked(["top/sub", "y"], journal=journal)["error"][1] == "No such task_id 'y' in workflow 'top/sub'"
    assert get_metadata("top", "x", journal=journal)["stats"] == {"start_time": NOON_S, "end_time": NOON_S + 1}


# --- the command -----------------------------------------------------------------------------------------------------


def test_the_command_prints_ray_s_answer(cli: Cli, tmp_path: Path) -> None:
    storage = build(tmp_path / "storage", stage("seed workflow"))
    for call in (["trip1"], ["trip1", "trip"], ["flux-é 1", "tâche é"]):
        ran = cli("metadata", *call, "--storage", storage)
        assert (ran.code, json.loads(ran.out)) == (0, get_metadata(*call, storage=str(storage)))
    ran = cli("metadata", "--list", "--status", "CANCELED", "--storage", storage)
    assert ran.out == "CANCELED    cancel1\nCANCELED    ghost\n"


@pytest.mark.parametrize(
    ("arguments", "code", "answer"),
    [
        (["nope"], 1, "otel-events: No such workflow_id 'nope'\n"),
        (["night/1", "no\x1b[31mpe"], 1, "otel-events: No such task_id 'no\\u001b[31mpe' in workflow 'night/1'\n"),
        (["--list", "--status", "DONE"], 1, "otel-events: 'DONE' is not a valid WorkflowStatus"),
        ([], 2, "otel-events: name a workflow, or ask for --list\n"),
        (["x", "--list"], 2, "otel-events: name a workflow, or ask for --list\n"),
        (["x", "--storage", "/no/such"], 2, "otel-events: no storage of Ray workflows at /no/such"),
    ],
)
def test_the_command_says_what_is_wrong(cli: Cli, batch: str, arguments: list[str], code: int, answer: str) -> None:
    ran = cli("metadata", *arguments, "--journal", batch)
    assert (ran.code, ran.out, ran.err[: len(answer)]) == (code, "", answer)


def test_the_command_on_recorded_runs(cli: Cli, batch: str) -> None:
    ran = cli("metadata", "night/1", "load_1", "--journal", batch)
    assert json.loads(ran.out)["workflow_refs"] == ["load"]
    assert (
        cli("metadata", "--list", "--journal", batch).out
        == "RUNNING     alone\nPENDING     night/2\nFAILED      night/1\n"
    )


def test_replay_of_a_storage(cli: Cli, tmp_path: Path) -> None:
    storage, out = build(tmp_path / "storage"), tmp_path / "out"
    ran = cli("replay", "ray-workflow", storage, "--out", out, "--journal", tmp_path / "j.db")
    assert ran.code == 0, ran.err
    assert ran.err.startswith("24 records, 120 events (0 repeated), 24 traces, 62 spans (2 incomplete)")
    assert get_status("team/wf", journal=str(tmp_path / "j.db")) == "SUCCESSFUL"
