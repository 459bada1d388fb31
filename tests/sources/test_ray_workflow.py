"""Workflows of Ray polled from their storage: runs, attempts, outcomes and links; any order and repeats of polls."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections import defaultdict
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from otel_events.core import redact
from otel_events.core.fold import attempts
from otel_events.core.spans import span
from otel_events.core.traces import Closed, close_all
from otel_events.model.errors import DecodeError
from otel_events.model.event import AnyEvent
from otel_events.sources.ray_workflow.decode import decode
from otel_events.sources.ray_workflow.files import open_storage
from otel_events.sources.ray_workflow.pickled import plain_exception
from otel_events.sources.ray_workflow.poll import Poller, records
from otel_events.sources.source import LastAttempt as Known
from tests.sources.ray_workflow_kit import (
    STORED,
    Changes,
    begun,
    build,
    ended,
    running,
    stage,
    status,
    task_open,
    touch,
)  # fmt: skip

NOW = 1_795_300_000_000_000_000
T = 1795219700.0


def events(found: Iterable[tuple[str, bytes]]) -> list[AnyEvent]:
    return [event for _, record in found for event in decode(record)]


def closed(found: Iterable[AnyEvent]) -> dict[tuple[str, int], Closed]:
    """(run id, attempt) -> what it became, over all roots."""
    roots: dict[str, list[AnyEvent]] = defaultdict(list)
    for event in found:
        roots[event.run.root].append(event)
    ended_ = [one for members in roots.values() for one in close_all(members)[0]]
    return {(one.attempt.run.id, one.attempt.run.attempt): one for one in ended_}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, int], Closed]:
    return closed(events(records(str(build(tmp_path_factory.mktemp("ray"))))))


def test_outcomes_of_the_captured_workflows(told: dict[tuple[str, int], Closed]) -> None:
    outcomes = {run_id: one.outcome for (run_id, _), one in told.items()}
    expected = {
        "trip1": "succeeded", "trip1/tasks/trip": "succeeded", "team/wf/tasks/a/b": "succeeded",
        "fail1": "failed", "fail1/tasks/boom": "failed",
        "fail2/tasks/o": "succeeded", "fail2/tasks/b": "failed", "fail2/tasks/sum": "skipped",
        "catch1": "succeeded", "catch1/tasks/c": "failed",
        "cancel1": "cancelled", "cancel1/tasks/slow": "cancelled", "ghost": "cancelled",
        "sys1": "failed", "sys1/tasks/die": "crashed",
        "killed1": "", "killed1/tasks/slow": "",
        "resume1/tasks/nf": "succeeded", "retry1/tasks/flaky": "succeeded", "flux-é 1": "succeeded",
    }  # fmt: skip
    assert {run_id: outcomes.get(run_id) for run_id in expected} == expected
    assert not {"opts2", "q3", "team"} & outcomes.keys()  # no status: they never ran
    ran = {path.removesuffix("/workflow_meta.json") for path in STORED if path.endswith("/workflow_meta.json")}
    tasks = [path for path in STORED if path.endswith("/inputs.json") and path.split("/tasks/")[0] in ran]
    assert len(told) == len(ran) + len(tasks) == 62
    assert {number for _, number in told} == {1}


def test_what_a_task_tells(told: dict[tuple[str, int], Closed]) -> None:
    one = told["dup1/tasks/x_2", 1]
    made = span(one.attempt, one.where, one.outcome)
    assert (made.name, made.start, made.end) == ("x", 1795219716942901100, 1795219716943448800)
    assert {key: made.attributes[key] for key in made.attributes if key.startswith("ray.")} == {
        "ray.workflow.task_id": "x_2",
        "ray.workflow.task_type": "FUNCTION",
        "ray.workflow.max_retries": 3,
        "ray.workflow.catch_exceptions": False,
        "ray.workflow.retry_exceptions": False,
        "ray.workflow.checkpoint": True,
        "ray.workflow.ray_options": '{"_metadata": {"workflow.io/options": {"task_id": "x"}}}',
        "ray.workflow.refs": '["x","x_1"]',
    }
    spans = {told[f"dup1/tasks/{name}", 1].where.span_id for name in ("x", "x_1")}
    assert {link.span_id for link in made.links} == spans
    assert {link.attributes["otel_events.link"] for link in made.links} == {"depends_on"}
    assert made.parent_span_id == told["dup1", 1].where.span_id
    assert one.attempt.run.workflow == "x"


def test_errors_come_from_the_pickle_without_loading_it(told: dict[tuple[str, int], Closed]) -> None:
    for run_id in ("fail1", "fail1/tasks/boom"):
        error = told[run_id, 1].attempt.error
        assert error is not None
        assert (error.type, error.message, error.kind) == ("ValueError", "boom 1", "user")
    crashed = told["sys1/tasks/die", 1].attempt.error
    assert crashed is not None
    assert crashed.kind == "system"


def test_a_continuation_hangs_under_the_task_that_returned_it(told: dict[tuple[str, int], Closed]) -> None:
    chain = ["root", "__main__.fact", "__main__.fact_1", "__main__.fact_2"]
    for above, below in pairwise(chain):
        parent = told[f"dyn1/tasks/{above}", 1].where.span_id
        assert told[f"dyn1/tasks/{below}", 1].where.parent_span_id == parent
    assert {told[f"dyn1/tasks/{name}", 1].attempt.run.name for name in chain[1:]} == {"__main__.fact"}


class Staged:
    """One workflow of the storage as time goes on, polled after each change."""

    def __init__(self, folder: Path, workflow: str, **how: Any) -> None:
        self.folder, self.workflow = folder, workflow
        self.records: list[tuple[str, bytes]] = []
        self.poller: Poller
        folder.mkdir(exist_ok=True)
        self.restart(**how)

    def restart(self, **how: Any) -> None:
        self.poller = Poller(open_storage(str(self.folder)), **how)

    def poll(self, changes: Changes, at: float, now: int = NOW) -> list[tuple[str, bytes]]:
        shutil.rmtree(self.folder / "workflows", ignore_errors=True)
        build(self.folder, changes, only=self.workflow)
        for file in (self.folder / "workflows").rglob("*.*"):
            touch(self.folder, str(file.relative_to(self.folder / "workflows")), at)
        found = [one for one in self.poller.poll(now) if one[0].endswith(f": {self.workflow}")]
        self.poller.acknowledge()
        self.records += found
        return found


Steps = tuple[tuple[Changes, float], ...]

RESUMED: Steps = (
    (stage("before resume"), 1795219710.434),
    (status("resume1", "RUNNING") | {"resume1/post_run_metadata.json": '{"end_time": 1795219710.4342043}'}
     | task_open("resume1", "nf"), 1795219711.465),
    ({}, 1795219711.472),
)  # fmt: skip
"""resume1: its first try failed, it ran again, it succeeded; with when its files were last written."""


def test_a_resumed_workflow_is_another_attempt(tmp_path: Path) -> None:
    staged = Staged(tmp_path, "resume1")
    for changes, at in RESUMED:
        assert staged.poll(changes, at)
        assert staged.poller.poll(NOW) == []  # nothing new
    told = closed(events(staged.records))
    assert {key: one.outcome for key, one in told.items()} == {
        ("resume1", 1): "failed", ("resume1", 2): "succeeded", ("resume1/tasks/o", 1): "succeeded",
        ("resume1/tasks/nf", 1): "failed", ("resume1/tasks/nf", 2): "succeeded",
    }  # fmt: skip
    second = told["resume1/tasks/nf", 2]
    assert second.where.parent_span_id == told["resume1", 2].where.span_id
    assert second.attempt.start == 1795219711467140400
    first = told["resume1/tasks/nf", 1].attempt.error
    assert first is not None
    assert first.type == "FileNotFoundError"


def test_a_restart_goes_on_counting_from_the_journal(tmp_path: Path) -> None:
    """The law: however often the gateway was restarted in between, the same telemetry."""
    whole, cut = Staged(tmp_path / "a", "resume1"), Staged(tmp_path / "b", "resume1")

    def recall(root: str) -> dict[str, Known]:
        runs: dict[str, list[AnyEvent]] = defaultdict(list)
        for event in events(cut.records):
            runs[event.run.id].append(event)
        last = {run_id: attempts(members)[-1] for run_id, members in runs.items()}
        return {k: Known(one.run.attempt, one.first_running, bool(one.outcome)) for k, one in last.items()}

    for changes, at in RESUMED:
        whole.poll(changes, at)
        cut.poll(changes, at)
        cut.restart(recall=recall)
        cut.poll(changes, at)
    assert told_of(cut.records) == told_of(whole.records)


def told_of(found: list[tuple[str, bytes]]) -> list[Any]:
    made = [span(one.attempt, one.where, one.outcome, one.previous) for one in closed(events(found)).values()]
    return sorted(made, key=lambda one: (one.trace_id, one.start, one.span_id))


def test_any_order_and_repeats_of_polls(tmp_path: Path) -> None:
    staged = [Staged(tmp_path / "1", "resume1"), Staged(tmp_path / "2", "run1"), Staged(tmp_path / "3", "q2")]
    ran: Steps = (stage("immediately after run_async"), T + 5.8), (stage("running workflow"), T + 7), ({}, T + 9)
    queued: Steps = (stage("pending get_metadata q2"), T + 638), (stage("q2 now running?"), T + 643.2), ({}, T + 644.2)
    for one, steps in zip(staged, (RESUMED, ran, queued), strict=True):
        for changes, at in steps:
            one.poll(changes, at)
    found = [record for one in staged for record in one.records]
    expected = told_of(found)
    assert len(expected) == 10
    for seed in range(20):
        shuffled = random.Random(seed).choices(found, k=len(found)) + random.Random(seed).sample(found, len(found))
        assert told_of(shuffled) == expected


def test_the_phases_of_a_queued_workflow(tmp_path: Path) -> None:
    staged = Staged(tmp_path, "q2")
    staged.poll(stage("pending get_metadata q2"), T + 638.5)
    assert [(event.run.kind, event.time) for event in events(staged.records)] == [
        ("workflow", 1795220338500000000),
        ("task", 1795220338500000000),
    ]
    staged.poll(stage("q2 now running?"), T + 643.2)
    staged.poll({}, T + 644.2)
    told = closed(events(staged.records))
    assert [change.phase for change in told["q2", 1].attempt.phases] == ["pending", "running", "succeeded"]
    assert [change.phase for change in told["q2/tasks/s", 1].attempt.phases] == ["pending", "running", "succeeded"]


def test_a_start_that_is_written_twice_is_one_start(tmp_path: Path) -> None:
    staged = Staged(tmp_path, "run1")
    staged.poll(stage("immediately after run_async"), T + 5.8)
    staged.poll(stage("running workflow"), T + 5.8)
    staged.poll({}, T + 8.8)
    told = closed(events(staged.records))
    assert {number for _, number in told} == {1}
    assert [change.phase for change in told["run1", 1].attempt.phases] == ["running", "succeeded"]
    assert told["run1", 1].attempt.start == 1795219705766739600


def test_a_retry_that_a_poll_saw_is_another_attempt(tmp_path: Path) -> None:
    open_ = running("retry1") | task_open("retry1", "flaky")
    place = "retry1/tasks/flaky/pre_task_metadata.json"
    staged = Staged(tmp_path, "retry1")
    staged.poll(open_ | {place: '{"start_time": 1795219704.4}', "retry1/tasks/flaky/exception.pkl": None}, T + 4.4)
    staged.poll(open_ | {place: '{"start_time": 1795219704.4}'}, T + 4.58)
    staged.poll(open_, T + 4.58)
    staged.poll({}, T + 5.01)
    told = closed(events(staged.records))
    assert [(key, one.outcome) for key, one in told.items() if key[0].endswith("flaky")] == [
        (("retry1/tasks/flaky", 1), "failed"),
        (("retry1/tasks/flaky", 2), "succeeded"),
    ]
    assert told["retry1/tasks/flaky", 1].attempt.end == int((T + 4.58) * 1e9)


def test_an_end_about_to_be_written_is_waited_for(tmp_path: Path) -> None:
    staged = Staged(tmp_path, "fail1")
    early = int((T + 5) * 1e9)
    assert staged.poll(ended("fail1", None), T + 4.25, now=early) == []
    assert staged.poll(ended("fail1", T + 4.1), T + 4.25, now=early) == []  # of an earlier run: before its start
    (_, record), *rest = staged.poll({}, T + 4.25, now=early)
    assert (json.loads(record)["end"], rest) == (1795219704251962400, [])


def test_an_end_that_never_comes_is_when_the_status_was_written(tmp_path: Path) -> None:
    staged = Staged(tmp_path, "trip1")
    staged.poll(ended("trip1", None), T + 3.4)
    assert closed(events(staged.records))["trip1", 1].attempt.end == int((T + 3.4) * 1e9)


def test_a_run_again_after_success_leaves_the_tasks_alone(tmp_path: Path) -> None:
    staged = Staged(tmp_path, "trip1")
    staged.poll(stage("seed workflow"), T + 3.3)
    staged.poll({}, T + 3.4)
    outcomes = {key: one.outcome for key, one in closed(events(staged.records)).items()}
    assert outcomes == dict.fromkeys([("trip1", 1), ("trip1", 2), ("trip1/tasks/trip", 1)], "succeeded")


def test_what_was_not_kept_is_given_again(tmp_path: Path) -> None:
    poller = Poller(open_storage(str(build(tmp_path))))
    first = poller.poll(NOW)
    assert poller.poll(NOW) == first
    poller.acknowledge()
    assert poller.poll(NOW) == []


def test_what_is_over_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = open_storage(str(build(tmp_path)))
    poller = Poller(files)
    poller.poll(NOW)
    poller.acknowledge()
    read: list[str] = []
    real = files.read

    def noted(path: str) -> bytes | None:
        read.append(path)
        return real(path)

    monkeypatch.setattr(files, "read", noted)
    assert poller.poll(NOW) == []
    assert {path.split("/")[0] for path in read} == {"killed1", "opts2", "q3", "team"}  # open, or without a status
    os.utime(tmp_path / "workflows/__status__/FAILED/fail1")
    poller.poll(NOW)
    assert "fail1/workflow_meta.json" in read


def test_what_is_over_for_too_long_is_passed_over(tmp_path: Path) -> None:
    build(tmp_path, only="fail1")
    touch(tmp_path, "__status__/FAILED/fail1", T)
    hour = 3600 * 10**9
    assert len(Poller(open_storage(str(tmp_path)), max_age=24 * hour).poll(int(T * 1e9) + 23 * hour)) == 1
    assert Poller(open_storage(str(tmp_path)), max_age=24 * hour).poll(int(T * 1e9) + 25 * hour) == []


def test_secrets_do_not_leave(tmp_path: Path) -> None:
    inputs = {
        "task_id": "trip",
        "task_options": {"ray_options": {"runtime_env": {"env_vars": {"A": "hunter2"}}, "num_cpus": 1}},
        "user_metadata": {"api_key": "hunter2", "team": "a"},
    }
    build(tmp_path, {"trip1/tasks/trip/inputs.json": json.dumps(inputs)}, only="trip1")
    (_, record), *_ = records(str(tmp_path))
    told = redact.events(decode(record))
    assert "hunter2" not in repr(told)
    assert '"num_cpus": 1' in repr(told)
    assert '"team": "a"' in repr(told)


@pytest.mark.parametrize(
    "text", ["[]", "{", '{"id": ""}', '{"id": 1}', '{"id": "a", "attempt": 0}', '{"id": "\\ud800"}', "[" * 5000]
)
def test_a_record_that_is_none(text: str) -> None:
    with pytest.raises(DecodeError, match=r"not a workflow of Ray: .*; see docs/ray\.md"):
        decode(text.encode())


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (b"\x80\x05\x8c\x08builtins\x8c\nValueError\x93\x8c\x04boom\x85R.", ("ValueError", "boom")),
        (b"\x80\x05\x8c\x03a.b\x8c\x03Own\x93)R.", ("a.b.Own", "")),
        (b"\x80\x05\x8c\x05posix\x8c\x06system\x93\x8c\x02ls\x85R0N.", ("", "")),
        (b"\x80\x05" + b"\x8c\x01a" * 100 + b".", ("", "")),
        (b"cos\nsystem\n(S'ls'\ntR.", ("", "")),
        (b"\x80", ("", "")),
        (b"", ("", "")),
        (b"\x80\x05" + b"N" * 70_000 + b".", ("", "")),
    ],
)
def test_pickles_are_read_not_loaded(made: bytes, expected: tuple[str, str]) -> None:
    assert plain_exception(made) == expected


def test_begun_is_as_ray_told_it(tmp_path: Path) -> None:
    """Every digit of a time survives: what is recorded gives Ray's own floats back."""
    build(tmp_path, begun("dag1", 1795219703.4014792), only="dag1")
    (_, record), *_ = records(str(tmp_path))
    assert json.loads(record)["start"] / 10**9 == 1795219703.4014792
