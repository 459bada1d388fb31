"""Captured exports of Ray 2.49, 2.52 and 2.60 and the attempts that they are, against what Ray's callers and its State
API say of the same runs: posts.jsonl.gz and attempts.jsonl of tests/golden/ray.

OTEL_EVENTS_WRITE_GOLDEN=1 writes attempts.jsonl anew from what the code gives now; read the difference before
committing.
"""

from __future__ import annotations

import gzip
import json
import os
from collections import Counter, defaultdict
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest

from otel_events.core import redact
from otel_events.core.traces import Closed, close_all
from otel_events.model.event import INTERNAL, AnyEvent
from otel_events.sources.ray.decode import decode

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "ray"
CASES = sorted(path.name for path in GOLDEN.iterdir())
WRITE = bool(os.environ.get("OTEL_EVENTS_WRITE_GOLDEN"))
FEW = 100
"""Attempts of a case that are written out; of more, the counts have to do."""


@cache
def decoded(case: str) -> list[AnyEvent]:
    with gzip.open(GOLDEN / case / "posts.jsonl.gz") as posts:
        return redact.events(event for post in posts for event in decode(post))


@cache
def closed(case: str) -> list[Closed]:
    """Every attempt that is shown, of all roots of a case, by root and start."""
    roots: dict[str, list[AnyEvent]] = defaultdict(list)
    for event in decoded(case):
        roots[event.run.root].append(event)
    return [one for root in sorted(roots) for one in close_all(roots[root])[0] if not one.where.foreign]


def told(one: Closed) -> dict[str, Any]:
    """An attempt as a line of the golden file."""
    attempt, run = one.attempt, one.attempt.run
    return {
        "run": [run.kind, run.id, run.attempt],
        "names": [run.name, run.workflow, run.namespace],
        "parent": [run.parent or "", one.where.parent_span_id.hex()],
        "outcome": one.outcome,
        "error": [attempt.error.type, attempt.error.kind, attempt.error.message] if attempt.error else None,
        "times": [attempt.start, attempt.first_running, attempt.end],
        "phases": [f"{change.phase} {change.native}" for change in attempt.phases],
        "logs": sorted(log.event_name for log in attempt.logs),
        "late": [event.attributes.get("native", type(event).__name__) for event in attempt.late],
        "attributes": attempt.attributes,
    }


@pytest.mark.parametrize("case", CASES)
def test_posts_become_the_reviewed_attempts(case: str) -> None:
    found = [told(one) for one in closed(case)]
    if len(found) > FEW:
        return
    path = GOLDEN / case / "attempts.jsonl"
    if WRITE:
        path.write_bytes(b"".join(msgspec.json.encode(one) + b"\n" for one in found))
    assert found == [json.loads(line) for line in path.read_bytes().splitlines()]


def test_many_tasks() -> None:
    """800 tasks, and a first batch that was sent three times: each attempt once, none without its job."""
    ends = Counter((one.attempt.run.kind, one.attempt.run.name, one.outcome) for one in closed("again_and_done"))
    assert ends == {("task", "f", "succeeded"): 800, ("workflow", "wl_perf.py", ""): 1, ("node", "ray.node", ""): 1}


@pytest.mark.parametrize("case", CASES)
def test_each_attempt_is_one_span_and_none_is_an_orphan(case: str) -> None:
    found = closed(case)
    ids = [one.where.span_id for one in found]
    assert len(set(ids)) == len(ids)
    named = {one.where.parent_span_id for one in found} - {b""}
    assert named <= set(ids)


@pytest.mark.parametrize("case", CASES)
def test_secrets_and_pickles_are_in_no_event(case: str) -> None:
    """The captures carry made-up secrets in runtime environments, and pickles in causes of death."""
    with gzip.open(GOLDEN / case / "posts.jsonl.gz") as posts:
        raw = posts.read()
    text = repr(decoded(case))
    for secret in ("hunter2", "canary-5f2c", "gAWV1AYAAAA", "\\x1b["):
        assert secret not in text
    assert case not in ("mixed", "v2_52") or b"hunter2" in raw or b"canary-5f2c" in raw
    assert case != "mixed" or b"gAWV1AYAAAA" in raw


def outcomes(case: str, by: str = "ray.task.name") -> dict[str, list[str]]:
    """Outcomes of the attempts of tasks by the name that the user gave, in order."""
    found = defaultdict(list)
    for one in closed(case):
        if one.attempt.run.kind == "task":
            found[str(one.attempt.attributes.get(by, one.attempt.run.name))].append(one.outcome)
    return dict(found)


def test_the_state_api_counts_the_same_attempts() -> None:
    """Each of its rows is one of our spans, with the same name, parent, end and times (it tells milliseconds)."""
    table = json.loads((GOLDEN / "mixed" / "state_api.json").read_bytes())
    ours = {(one.attempt.run.id, one.attempt.run.attempt): one for one in closed("mixed")}
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["tasks"]]
    tasks = {key for key, one in ours.items() if one.attempt.run.kind == "task"}
    assert tasks == {(row["task_id"], row["attempt_number"] + 1) for row in rows}
    for row in rows:
        one = ours[row["task_id"], row["attempt_number"] + 1]
        attempt, run = one.attempt, one.attempt.run
        assert (run.name, attempt.attributes["ray.task.name"]) == (row["func_or_class_name"], row["name"])
        assert (attempt.error.type if attempt.error else None) == row["error_type"]
        assert (run.parent or "f" * 40 + run.root) == row["parent_task_id"]
        assert attempt.start // 1_000_000 == row["creation_time_ms"]
        if row["start_time_ms"]:
            assert attempt.first_running // 1_000_000 == row["start_time_ms"]
        if row["end_time_ms"] and one.outcome != "cancelled":  # a cancelled one ends where its function was left
            assert attempt.end // 1_000_000 == row["end_time_ms"]
        assert bool(one.outcome) == (row["state"] in ("FINISHED", "FAILED"))
    lives = Counter(one.attempt.run.id for one in ours.values() if one.attempt.run.name in ("Broken", "Counter"))
    assert lives == {actor: restarts + 1 for actor, _, _, restarts in table["actors"]}


ACTOR_EXIT = {"quits.bye": "Quits.bye", "exits.bye": "Exits.bye"}
"""Methods that call exit_actor(): their caller gets ActorDiedError, though they did what they should."""

NAMES = {
    "mother": "mother",
    "store.put": "Store.put",
    "broken_gen": "broken_gen",
    "cancel waiting": "cancelled_while_waiting",
    "parent_retry": "parent_retry",
    "gives_up": "gives_up",
    "dies": "dies",
    "cancel_running": "cancel_running",
    "cancel_force": "cancel_force",
    "cancel_queued": "cancel_queued",
    "cancel_dep": "cancel_dep",
    "box.ok": "Box.ok",
    "box.once": "Box.once",
    "gen": "gen",
    "env": "with_env",
}
"""What the caller calls it -> the task's name."""


@pytest.mark.parametrize("case", ["restart", "v2_52"])
def test_the_callers_saw_the_same_ends(case: str) -> None:
    seen = json.loads((GOLDEN / case / "seen_by_caller.json").read_bytes())
    found = outcomes(case)
    for call, (verdict, told) in seen.items():
        if call in ACTOR_EXIT:
            assert found[ACTOR_EXIT[call]] == ["succeeded"]
        elif call in NAMES:
            last = found[NAMES[call]][-1]
            expected = "succeeded" if verdict == "ok" else "cancelled" if "Cancelled" in told else "failed"
            assert (call, last) == (call, expected)
    if case == "v2_52":
        assert found["Late.f"] == ["succeeded"] * 3 + ["crashed"]  # `late.f`, then `late after kill`


def test_children_hang_under_the_attempt_that_was_under_way() -> None:
    """parentTaskId tells no attempt; the names of the children do."""
    found = closed("restart")
    spans = {one.where.span_id: one.attempt.run for one in found}
    parents = {
        str(one.attempt.attributes["ray.task.name"]): spans[one.where.parent_span_id].attempt
        for one in found
        if str(one.attempt.attributes.get("ray.task.name", "")).startswith("kid_of_attempt")
    }
    assert parents == {"kid_of_attempt_0": 1, "kid_of_attempt_1": 2}
    again = {one.where.span_id: one.attempt.run for one in closed("v2_52")}
    leaves = [one for one in closed("v2_52") if "leaf_of" in str(one.attempt.attributes.get("ray.task.name"))]
    for one in leaves:
        attempt = again[one.where.parent_span_id].attempt
        assert one.attempt.attributes["ray.task.name"] == f"leaf_of_{attempt - 1}"


@pytest.mark.parametrize("case", ["cancel", "v2_49"])
def test_ways_to_cancel(case: str) -> None:
    """2.49 has no profile events: a plain cancel of a running task is a success there, and said to be unknowable."""
    plain = "cancelled" if case == "cancel" else "succeeded"
    ends = outcomes(case)
    expected = {"cancel_busy": plain, "cancel_force": "cancelled", "cancel_pending": "cancelled"}
    for name, end in {**expected, "cancel_async": "cancelled"}.items():
        assert (name, ends[name]) == (name, [end])
    knowable = {
        one.attempt.attributes.get("ray.cancel.knowable")
        for one in closed(case)
        if one.attempt.attributes.get("ray.task.name") == "cancel_busy"
    }
    assert knowable == {case == "cancel"}


def test_the_lives_of_restarted_actors() -> None:
    lives = [
        (one.attempt.run.name, one.attempt.run.attempt, one.outcome)
        for case in ("restart", "v2_52")
        for one in closed(case)
        if one.attempt.run.kind == "node" and one.attempt.run.name != "ray.node"
    ]
    assert lives == [
        *(("Store", 1, "crashed"), ("Store", 2, ""), ("Quits", 1, "succeeded")),
        *(("Box", 1, "crashed"), ("Box", 2, ""), ("Late", 1, "cancelled"), ("Exits", 1, "succeeded")),
    ]


def test_the_creation_of_a_restarted_actor_stays_one_attempt() -> None:
    """A lone RUNNING of attempt 1 (2.60), or one of attempt 0 after its end (2.52)."""
    for case, name in (("restart", "store:Store.__init__"), ("v2_52", "box:Box.__init__")):
        assert outcomes(case)[name] == ["succeeded"]


def test_rays_own_jobs_are_not_shown() -> None:
    """The dashboard's job and its JobSupervisor actors; the jobs that were submitted are."""
    shown = {(one.attempt.run.kind, one.attempt.run.name) for one in closed("job_submit")}
    assert shown == {("node", "ray.node"), ("workflow", "jobok.py"), ("task", "f")}
    assert {event.run.root for event in decoded("job_submit") if INTERNAL in event.attributes} == {"01000000"}


def test_a_job_says_which_submission_it_is() -> None:
    job = next(one for one in closed("job_submit") if one.attempt.run.kind == "workflow")
    assert job.attempt.attributes["ray.submission.id"] == "job_ok"
    assert job.attempt.attributes["ray.job.metadata.team"] == "x"
    assert (job.outcome, job.attempt.native) == ("", "FINISHED")
