"""How runs of one root become one trace: parents, foreign contexts, settled outcomes, and what is late."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from otel_events.core.fold import Attempt
from otel_events.core.logs import log
from otel_events.core.spans import Context, context, derived_parent
from otel_events.core.traces import Closed, close_all, log_events, outcome_of, parent_id, place
from otel_events.model.event import AnyEvent, Log, PhaseChange, Run, Stat
from otel_events.model.identity import span_id, trace_id, traceparent
from otel_events.sources.flyte import own_trace_id
from tests.strategies import SECOND, START

FLOW = Run("flyte", "workflow", "p/d/x", "flow", "p/d/x", None, 1, "p/d", "flow")
NODE = Run("flyte", "node", "p/d/x/n0", "n0", "p/d/x", "p/d/x", 1, "p/d", "flow", "workflow")
TASK = Run("flyte", "task", "p/d/x/n0/t", "t", "p/d/x", "p/d/x/n0", 1, "p/d", "flow", "node")
TRACE, SPAN = b"T" * 16, b"S" * 8
GIVEN = traceparent(TRACE, SPAN)


def change(run: Run, phase: str, second: int, **more: Any) -> PhaseChange:
    more.setdefault("id", f"{run.id}:{run.attempt}:{phase}:{second}")
    return PhaseChange(time=START + second * SECOND, run=run, phase=phase, native=phase.upper(), **more)


def whole(run: Run, begin: int, end: int, outcome: str = "succeeded", **more: Any) -> list[AnyEvent]:
    return [change(run, "running", begin, **more), change(run, outcome, end)]


def spans(*events: Sequence[AnyEvent]) -> dict[tuple[str, int], Closed]:
    closed, _ = close_all(event for some in events for event in some)
    return {(ended.attempt.run.id, ended.attempt.run.attempt): ended for ended in closed}


def own(run: Run) -> bytes:
    return span_id(run.source, run.namespace, run.id, run.attempt, run.kind)


def test_a_tree_of_three_levels_from_natural_keys() -> None:
    closed = spans(whole(TASK, 3, 4), whole(NODE, 2, 5), whole(FLOW, 1, 6))
    trace = trace_id("flyte", "p/d", "p/d/x")
    assert closed["p/d/x", 1].where == Context(trace, own(FLOW), b"")
    assert closed["p/d/x/n0", 1].where == Context(trace, own(NODE), own(FLOW))
    assert closed["p/d/x/n0/t", 1].where == Context(trace, own(TASK), own(NODE))
    assert [ended.attempt.run.kind for ended in closed.values()] == ["workflow", "node", "task"]


def test_a_child_before_its_parent_points_to_the_span_that_will_come() -> None:
    child = spans(whole(TASK, 3, 4))[TASK.id, 1]
    both = spans(whole(TASK, 3, 4), whole(NODE, 5, 6))[TASK.id, 1]
    assert child.where == both.where
    assert child.where.parent_span_id == own(NODE)


def test_a_run_that_tells_no_parent_hangs_under_the_root() -> None:
    bare = msgspec.structs.replace(NODE, parent=None, parent_kind="")
    assert spans(whole(bare, 1, 2), whole(FLOW, 0, 3))[NODE.id, 1].where.parent_span_id == own(FLOW)
    assert derived_parent(bare) == own(FLOW)
    assert (parent_id(bare), parent_id(NODE), parent_id(FLOW)) == ("p/d/x", "p/d/x", None)


def test_a_run_is_never_its_own_parent() -> None:
    loop = msgspec.structs.replace(NODE, parent=NODE.id, parent_kind="node")
    assert spans(whole(loop, 1, 2), whole(FLOW, 0, 3))[NODE.id, 1].where.parent_span_id == own(FLOW)
    assert derived_parent(loop) == own(FLOW)
    root = msgspec.structs.replace(FLOW, parent=FLOW.id)
    assert spans(whole(root, 1, 2))[FLOW.id, 1].where.parent_span_id == b""


def test_parents_that_go_round_in_a_circle_end() -> None:
    outer = msgspec.structs.replace(NODE, id="a", parent="b", parent_kind="node")
    inner = msgspec.structs.replace(NODE, id="b", parent="a", parent_kind="node")
    closed = spans(whole(outer, 1, 2), whole(inner, 1, 2), whole(FLOW, 0, 3))
    assert closed["a", 1].where.parent_span_id == own(inner)
    assert len({ended.where.trace_id for ended in closed.values()}) == 1


def test_in_a_closed_world_a_parent_that_never_came_is_replaced_by_the_root() -> None:
    closed = spans(whole(TASK, 3, 4), whole(FLOW, 1, 6))
    assert closed[TASK.id, 1].where.parent_span_id == own(FLOW)
    only_log: list[AnyEvent] = [Log(id="l", time=START, run=NODE, message="known, but no span")]
    assert spans(only_log, whole(TASK, 3, 4), whole(FLOW, 1, 6))[TASK.id, 1].where.parent_span_id == own(FLOW)


def test_in_an_open_world_that_parent_is_awaited() -> None:
    closed = {ended.attempt.run.id: [ended.attempt] for ended in spans(whole(TASK, 3, 4), whole(FLOW, 1, 6)).values()}
    (attempt,) = closed[TASK.id]

    def lookup(run: str) -> list[Attempt]:
        return closed.get(run, [])

    assert place(attempt, lookup).parent_span_id == own(NODE)
    assert place(attempt, lookup, closed_world=True).parent_span_id == own(FLOW)


def test_a_child_hangs_under_the_attempt_of_its_parent_that_was_under_way() -> None:
    again = msgspec.structs.replace(FLOW, attempt=2)
    late = msgspec.structs.replace(NODE, id="p/d/x/n1")
    closed = spans(whole(FLOW, 0, 3, "failed"), whole(again, 4, 9), whole(NODE, 1, 2), whole(late, 5, 6))
    assert closed[NODE.id, 1].where.parent_span_id == own(FLOW)
    assert closed[late.id, 1].where.parent_span_id == own(again)


# --- foreign contexts -----------------------------------------------------------------------------------------------


def test_a_traceparent_of_its_own_is_adopted_and_its_span_left_to_who_sends_it() -> None:
    closed = spans(whole(NODE, 1, 4, attributes={"traceparent": GIVEN}), whole(FLOW, 0, 5))
    where = closed[NODE.id, 1].where
    assert (where.trace_id, where.span_id, where.foreign) == (TRACE, SPAN, True)
    assert not closed[FLOW.id, 1].where.foreign


def test_what_hangs_below_a_foreign_span_is_in_its_trace_however_deep() -> None:
    sub = Run("flyte", "task", TASK.id + "/0", "t", FLOW.id, TASK.id, 1, "p/d", "flow", "task")
    closed = spans(
        whole(FLOW, 0, 9, attributes={"traceparent": GIVEN}), whole(NODE, 1, 8), whole(TASK, 2, 7), whole(sub, 3, 4)
    )
    assert {ended.where.trace_id for ended in closed.values()} == {TRACE}
    assert [closed[run.id, 1].where.parent_span_id for run in (NODE, TASK, sub)] == [SPAN, own(NODE), own(TASK)]
    assert [closed[run.id, 1].where.foreign for run in (FLOW, NODE, TASK, sub)] == [True, False, False, False]


def test_what_hangs_below_a_parent_that_is_not_known_is_in_the_trace_of_the_root() -> None:
    closed = {
        ended.attempt.run.id: [ended.attempt]
        for ended in spans(whole(FLOW, 0, 9, attributes={"traceparent": GIVEN}), whole(TASK, 2, 7)).values()
    }
    assert place(closed[TASK.id][0], lambda run: closed.get(run, [])).trace_id == TRACE


def test_the_callers_context_gives_trace_and_parent() -> None:
    closed = spans(whole(FLOW, 0, 9, attributes={"otel_events.parent.traceparent": GIVEN}), whole(NODE, 1, 8))
    assert closed[FLOW.id, 1].where == Context(TRACE, own(FLOW), SPAN)
    assert closed[NODE.id, 1].where == Context(TRACE, own(NODE), own(FLOW))


def test_the_callers_context_wins_over_a_parent_of_another_trace() -> None:
    closed = spans(whole(FLOW, 0, 9), whole(NODE, 1, 8, attributes={"otel_events.parent.traceparent": GIVEN}))
    assert closed[NODE.id, 1].where == Context(TRACE, own(NODE), SPAN)


def test_a_context_that_is_not_sampled_or_no_context_is_not_adopted() -> None:
    unsent = traceparent(TRACE, SPAN, sampled=False)
    derived = Context(trace_id("flyte", "p/d", "p/d/x"), own(NODE))
    for text in (unsent, "", "garbage", 5):
        for key in ("traceparent", "otel_events.parent.traceparent"):
            assert context(NODE, {key: text}) == derived


def test_a_flyte_2_run_is_in_the_trace_of_its_own_sdk() -> None:
    run = Run("flyte", "workflow", "o/p/d/r", "flow", "o/p/d/r", None, 1, "p/d", "flow")
    assert spans(whole(run, 0, 1))[run.id, 1].where.trace_id == own_trace_id("o/p/d/r")


# --- outcomes among neighbours --------------------------------------------------------------------------------------


def test_a_deadline_shows_as_an_abort_and_is_told_by_the_next_attempt_and_by_the_node() -> None:
    again = msgspec.structs.replace(TASK, attempt=2)
    closed = spans(
        whole(TASK, 2, 3, "cancelled"), whole(again, 4, 6, "cancelled"), whole(NODE, 1, 5, "failed"), whole(FLOW, 0, 6)
    )
    assert [closed[TASK.id, number].outcome for number in (1, 2)] == ["timed_out", "timed_out"]
    assert [closed[TASK.id, number].attempt.outcome for number in (1, 2)] == ["cancelled", "cancelled"]


def test_a_users_abort_stays_one() -> None:
    closed = spans(whole(TASK, 2, 3, "cancelled"), whole(NODE, 1, 4, "cancelled"), whole(FLOW, 0, 5, "cancelled"))
    assert {ended.outcome for ended in closed.values()} == {"cancelled"}


def test_sub_tasks_that_a_failing_array_aborts_are_cancelled() -> None:
    sub = Run("flyte", "task", TASK.id + "/0", "t", FLOW.id, TASK.id, 1, "p/d", "flow", "task")
    closed = spans(whole(sub, 2, 3, "cancelled"), whole(TASK, 1, 4, "failed"), whole(NODE, 0, 5, "failed"))
    assert closed[sub.id, 1].outcome == "cancelled"


def test_the_outcome_of_a_run_is_that_of_its_last_attempt_with_a_span() -> None:
    stat: list[AnyEvent] = [
        Stat(id="s", time=START, run=msgspec.structs.replace(NODE, attempt=2), name="loss", value=1.0)
    ]
    closed = spans(whole(NODE, 1, 4, "failed"), stat, whole(TASK, 2, 3, "cancelled"))
    assert closed[TASK.id, 1].outcome == "timed_out"
    assert outcome_of(lambda _: (), None) == outcome_of(lambda _: (), "x") == ""


# --- which is last, what is left ------------------------------------------------------------------------------------


def test_the_last_attempt_finishes_the_run_and_each_knows_the_one_before() -> None:
    again = msgspec.structs.replace(TASK, attempt=3)
    closed = spans(whole(TASK, 2, 3, "failed"), whole(again, 4, 6), whole(NODE, 1, 5))
    assert [closed[TASK.id, number].final for number in (1, 3)] == [False, True]
    assert closed[TASK.id, 1].previous is None
    assert closed[TASK.id, 3].previous == closed[TASK.id, 1].where


def test_what_has_no_span_is_left_over_in_an_order_of_its_own() -> None:
    odd: list[AnyEvent] = [
        Log(id="1", time=START, run=msgspec.structs.replace(NODE, id="z"), message=""),
        Log(id="2", time=START, run=msgspec.structs.replace(NODE, id="a"), message=""),
        change(msgspec.structs.replace(NODE, id=""), "running", 1),
    ]
    closed, rest = close_all(odd)
    assert closed == []
    assert [ended.run.id for ended in rest] == ["", "a", "z"]
    assert close_all(odd[::-1])[1] == rest


def test_late_events_are_told_marked_in_order_of_time() -> None:
    late: list[AnyEvent] = [
        change(NODE, "running", 9),
        Stat(id="s", time=START + 8 * SECOND, run=NODE, name="loss", value=1.0),
    ]
    in_time = Stat(id="t", time=START + 2 * SECOND, run=NODE, name="loss", value=2.0)
    ended = spans(whole(NODE, 1, 4), [*late, in_time])[NODE.id, 1]
    marks = [(event.id, is_late) for event, is_late in log_events(ended.attempt)]
    assert marks == [
        ("p/d/x/n0:1:running:1", False),
        ("p/d/x/n0:1:succeeded:4", False),
        ("s", True),
        (late[0].id, True),
    ]
    records = [log(event, b"", b"", 1, is_late) for event, is_late in log_events(ended.attempt)]
    assert [record.attributes.get("otel_events.late") for record in records] == [None, None, True, True]
