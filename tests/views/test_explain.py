"""Where the time went: the exact text of a small tree, the critical path, gaps, and names from outside."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest

from otel_events.core.traces import close_all
from otel_events.model.event import AnyEvent, PhaseChange, Run
from otel_events.model.identity import traceparent
from otel_events.views.explain import Step, data, only, printable, text, tree
from tests.strategies import SECOND, START

FLOW = Run("flyte", "workflow", "p/d/x", "", "p/d/x", None, 1, "p/d", "etl")


def node(name: str, parent: str | None = None) -> Run:
    return Run("flyte", "node", f"p/d/x/{name}", name, "p/d/x", parent, 1, "p/d", "etl", "node" if parent else "")


def change(run: Run, phase: str, second: float) -> PhaseChange:
    when = START + int(second * SECOND)
    return PhaseChange(id=f"{phase}{second}{run.attempt}", time=when, run=run, phase=phase, native=phase)


def whole(
    run: Run, begin: float, end: float, queued: float | None = None, outcome: str = "succeeded"
) -> list[AnyEvent]:
    first: list[AnyEvent] = [] if queued is None else [change(run, "pending", queued)]
    return [*first, change(run, "running", begin), change(run, outcome, end)]


def roots_of(*events: Sequence[AnyEvent]) -> list[Step]:
    return tree(close_all(event for some in events for event in some)[0])


def critical(steps: Sequence[Step]) -> list[str]:
    names: list[str] = []
    for step in steps:
        names += [step.run.name or "etl"] * step.critical + critical(step.children)
    return names


def small() -> list[Step]:
    again = msgspec.structs.replace(node("put"), attempt=2)
    return roots_of(
        whole(FLOW, 1, 10, queued=0),
        whole(node("get"), 2, 4, queued=1.5),
        whole(node("put"), 5, 6, outcome="failed"),
        whole(again, 6, 9, queued=6),
        [change(node("say"), "skipped", 9)],
    )


COLUMNS = "operation                start_timestamp          end_timestamp             duration    entity"
ROWS = """\
WORKFLOW_QUEUED          01-01 00:00:00.000000    01-01 00:00:01.000000        1.00s    workflow/etl succeeded *
WORKFLOW_RUNNING         01-01 00:00:01.000000    01-01 00:00:10.000000        9.00s    workflow/etl succeeded *
WORKFLOW_IDLE            01-01 00:00:01.000000    01-01 00:00:01.500000        0.50s    idle
WORKFLOW_IDLE            01-01 00:00:04.000000    01-01 00:00:05.000000        1.00s    idle
WORKFLOW_IDLE            01-01 00:00:09.000000    01-01 00:00:10.000000        1.00s    idle
NODE_QUEUED              01-01 00:00:01.500000    01-01 00:00:02.000000        0.50s      node/get attempt 1 succeeded *
NODE_RUNNING             01-01 00:00:02.000000    01-01 00:00:04.000000        2.00s      node/get attempt 1 succeeded *
NODE_RUNNING             01-01 00:00:05.000000    01-01 00:00:06.000000        1.00s      node/put attempt 1 failed *
NODE_RUNNING             01-01 00:00:06.000000    01-01 00:00:09.000000        3.00s      node/put attempt 2 succeeded *
NODE_QUEUED              01-01 00:00:09.000000    01-01 00:00:09.000000        0.00s      node/say attempt 1 skipped *
"""


def test_the_text_of_a_small_tree() -> None:
    assert text(small()) == f"{COLUMNS}\n{'-' * 140}\n{ROWS}"


def test_the_data_of_a_small_tree() -> None:
    (root,) = data(small())
    assert {key: value for key, value in root.items() if key != "children"} == {
        "id": "p/d/x",
        "kind": "workflow",
        "name": "",
        "attempt": 1,
        "outcome": "succeeded",
        "start": "2026-01-01T00:00:00.000000000Z",
        "end": "2026-01-01T00:00:10.000000000Z",
        "critical": True,
        "seconds": {"queued": 1.0, "running": 9.0, "idle": 2.5},
    }
    children = [(child["name"], child["attempt"], child["outcome"], child["seconds"]) for child in root["children"]]
    assert children == [
        ("get", 1, "succeeded", {"queued": 0.5, "running": 2.0, "idle": 0}),
        ("put", 1, "failed", {"queued": 0.0, "running": 1.0, "idle": 0}),
        ("put", 2, "succeeded", {"queued": 0.0, "running": 3.0, "idle": 0}),
        ("say", 1, "skipped", {"queued": 0.0, "running": 0.0, "idle": 0}),
    ]
    assert msgspec.yaml.decode(msgspec.yaml.encode([root])) == [root]


def test_the_critical_path_goes_back_by_what_ended_last() -> None:
    # fast and slow run at once, then join waits for both: fast holds nothing up. Nobody waits for side.
    steps = roots_of(
        whole(FLOW, 0, 10),
        whole(node("fast"), 0, 2),
        whole(node("slow"), 0, 5),
        whole(node("join"), 5, 9),
        whole(node("side"), 3, 8),
    )
    assert critical(steps) == ["etl", "slow", "join"]


def test_the_critical_path_goes_down_into_what_is_on_it() -> None:
    steps = roots_of(
        whole(FLOW, 0, 10),
        whole(node("a"), 0, 9),
        whole(node("inner", "p/d/x/a"), 1, 8),
        whole(node("b"), 0, 7),
        whole(node("aside", "p/d/x/b"), 1, 6),
    )
    assert critical(steps) == ["etl", "a", "inner"]


def test_a_child_that_outlives_its_parent_held_it_up() -> None:
    assert critical(roots_of(whole(FLOW, 0, 10), whole(node("a"), 2, 12), whole(node("b"), 0, 1))) == ["etl", "b", "a"]
    assert critical(roots_of(whole(FLOW, 0, 10), whole(node("after"), 11, 12))) == ["etl"]


@pytest.mark.parametrize(
    ("children", "idle"),
    [
        ([], []),
        ([(1, 10)], []),
        ([(2, 4), (3, 6), (8, 10)], [(1, 2), (6, 8)]),
        ([(2, 9), (3, 4)], [(1, 2), (9, 10)]),
        ([(0.5, 3)], [(3, 10)]),
        ([(8, 12)], [(1, 8)]),
        ([(11, 12)], [(1, 10)]),
        ([(2, 3), (11, 12), (12, 13)], [(1, 2), (3, 10)]),
    ],
)
def test_idle_is_what_no_child_covers(children: list[tuple[float, float]], idle: list[tuple[float, float]]) -> None:
    steps = roots_of(whole(FLOW, 1, 10), *(whole(node(str(n)), *times) for n, times in enumerate(children)))
    assert [((low - START) / SECOND, (high - START) / SECOND) for low, high in steps[0].idle] == idle


def test_what_never_ran_is_not_idle() -> None:
    (step,) = roots_of([change(FLOW, "pending", 0)], whole(node("a"), 1, 2))
    assert step.idle == []
    assert "workflow/etl incomplete *" in text([step])


def test_one_run_of_the_tree() -> None:
    names = only(small(), "p/d/x/put")
    assert [(step.run.name, step.run.attempt) for step in names] == [("put", 1), ("put", 2)]
    assert only(small(), "nobody") == []


def test_attempts_that_share_a_foreign_span_all_show() -> None:
    given = {"traceparent": traceparent(b"t" * 16, b"s" * 8)}
    runs = [msgspec.structs.replace(node("a"), attempt=number) for number in (1, 2)]
    changes = [
        msgspec.structs.replace(event, attributes=given)
        for run in runs
        for event in whole(run, run.attempt, run.attempt + 0.5)
    ]
    (root,) = roots_of(whole(FLOW, 0, 5), changes)
    assert [step.run.attempt for step in root.children] == [1, 2]


def test_runs_that_hang_in_a_circle_show_once() -> None:
    steps = roots_of(
        whole(FLOW, 0, 5),
        whole(node("a", "p/d/x/b"), 1, 2),
        whole(node("b", "p/d/x/a"), 1, 3),
        whole(node("c", "p/d/x/b"), 2, 3),
    )
    shown = text(steps)
    assert [shown.count(f"node/{name} ") for name in "abc"] == [1, 1, 1]


def test_names_from_outside_cannot_steer_a_terminal() -> None:
    hostile = "a\x1b[2J\r\n\u202eb\x00é ok"
    assert printable(hostile) == "a\\u001b[2J\\u000d\\u000a\\u202eb\\u0000é ok"
    shown = text(roots_of(whole(msgspec.structs.replace(FLOW, workflow=hostile), 0, 1)))
    assert "\x1b" not in shown
    assert shown.count("\n") == 3
    assert printable("\ud800") == "\\ud800"


def test_a_run_without_a_name_shows_the_end_of_its_id() -> None:
    shown = text(roots_of(whole(msgspec.structs.replace(node("n7"), name=""), 0, 1)))
    assert "node/n7 attempt 1 succeeded *" in shown


def test_nothing_gives_the_header_alone() -> None:
    assert text([]).count("\n") == 2
    assert tree([]) == []
    assert data([]) == []
