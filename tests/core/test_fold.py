"""What the events of one run say of its attempts: counted and told, in and out of order, whole and torn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec
import pytest

from otel_events.core.fold import Attempt, at_time, attempts, ordered, rank, settled
from otel_events.core.traces import close_all, log_events
from otel_events.model.event import PHASES, AnyEvent, Error, Link, Log, PhaseChange, Report, Run, Stat
from tests.strategies import SECOND, START

FLYTE = Run("flyte", "task", "p/d/x/n0/t", "t", "p/d/x", "p/d/x/n0", 1, "p/d", "flow", "node")
PREFECT = Run("prefect", "task", "u1", "extract", "u0", "u0", 0, "", "etl", "workflow")


def at(second: float) -> int:
    return START + int(second * SECOND)


def change(phase: str, second: float, run: Run = FLYTE, **more: Any) -> PhaseChange:
    more.setdefault("id", f"{phase}@{second}/{run.attempt}")
    more.setdefault("native", phase.upper())
    return PhaseChange(time=at(second), run=run, phase=phase, **more)


def only(events: Sequence[AnyEvent]) -> Attempt:
    found = attempts(events)
    assert len(found) == 1
    return found[0]


def outline(found: list[Attempt]) -> list[tuple[int, str, list[str]]]:
    return [(one.run.attempt, one.outcome, [phase.native for phase in one.phases]) for one in found]


# --- one attempt ----------------------------------------------------------------------------------------------------


def test_a_whole_attempt() -> None:
    one = only([change("pending", 1), change("running", 3), change("succeeded", 7)])
    assert (one.start, one.first_running, one.end) == (at(1), at(3), at(7))
    assert (one.outcome, one.native, one.illegal, one.skewed, one.late) == ("succeeded", "SUCCEEDED", 0, False, [])


def test_no_events_no_attempts() -> None:
    assert attempts([]) == []


def test_what_is_no_phase_makes_no_span() -> None:
    log = Log(id="l", time=at(1), run=FLYTE, message="hello")
    one = only([log])
    assert (one.start, one.end, one.outcome, one.logs) == (0, 0, "", [log])


def test_a_missing_beginning_begins_at_the_first_sign() -> None:
    one = only([change("failed", 9)])
    assert (one.start, one.end, one.first_running, one.outcome) == (at(9), at(9), 0, "failed")


def test_a_missing_end_is_incomplete_until_the_last_sign_of_life() -> None:
    late_sign = Stat(id="s", time=at(8), run=FLYTE, name="loss", value=1.0)
    one = only([change("running", 2), late_sign])
    assert (one.outcome, one.start, one.end) == ("", at(2), at(8))


def test_an_end_dated_before_the_beginning_is_clamped_and_flagged() -> None:
    one = only([change("running", 5), change("succeeded", 2)])
    assert (one.start, one.end, one.outcome, one.skewed) == (at(2), at(2), "succeeded", True)
    assert [event.id for event in one.late] == ["running@5/1"]


def test_a_later_change_than_the_outcome_is_no_skew_where_the_attempt_had_begun() -> None:
    one = only([change("running", 1), change("succeeded", 2), change("running", 5)])
    assert not one.skewed


def test_an_outcome_absorbs_what_comes_after_it() -> None:
    one = only(
        [
            change("running", 1),
            change("succeeded", 2, attributes={"kept": 1}),
            change(
                "failed", 3, error=Error("Boom"), attributes={"kept": 2}, links=(Link("follows", "o", "task", "o"),)
            ),
            Log(id="after", time=at(4), run=FLYTE, message="bye"),
        ]
    )
    assert (one.outcome, one.end, one.error, one.links) == ("succeeded", at(2), None, [])
    assert one.attributes == {"kept": 1}
    assert [event.id for event in one.late] == ["failed@3/1", "after"]
    assert one.illegal == 1


def test_the_first_outcome_by_time_and_id_wins() -> None:
    one = only([change("failed", 2, id="b"), change("succeeded", 2, id="a"), change("cancelled", 3, id="0")])
    assert one.outcome == "succeeded"


def test_facts_of_the_moment_of_the_outcome_belong_to_the_attempt() -> None:
    deck = Report(id="zzz", time=at(2), run=FLYTE, name="deck")
    one = only([change("succeeded", 2, id="a"), deck])
    assert (one.reports, one.late) == ([deck], [])


def test_of_one_nanosecond_the_outcome_comes_last() -> None:
    changes = [
        change(phase, 1, id=str(9 - n)) for n, phase in enumerate(("pending", "running", "finalizing", "failed"))
    ]
    assert [phase.phase for phase in only(changes).phases] == ["pending", "running", "finalizing", "failed"]
    assert only(changes).outcome == "failed"


def test_events_without_a_phase_rank_before_all_phases() -> None:
    assert rank(Log(id="l", time=1, run=FLYTE, message="")) < min(row.rank for row in PHASES.values())
    assert rank(change("unheard of", 1)) == -1


# --- sticky facts ---------------------------------------------------------------------------------------------------


def test_a_field_that_a_later_event_lacks_is_not_erased() -> None:
    bare = msgspec.structs.replace(FLYTE, name="", workflow="", parent=None, parent_kind="")
    one = only([change("running", 1, attributes={"a": 1, "b": 2}), change("cancelled", 2, bare, attributes={"b": 3})])
    assert one.run == FLYTE
    assert one.attributes == {"a": 1, "b": 3}


def test_a_field_that_only_a_later_event_tells_is_known() -> None:
    bare = msgspec.structs.replace(FLYTE, name="", workflow="", parent=None, parent_kind="")
    assert only([change("running", 1, bare), change("succeeded", 2)]).run == FLYTE


def test_a_parent_never_gets_the_kind_of_another_parent() -> None:
    root = msgspec.structs.replace(FLYTE, parent="p/d/x", parent_kind="")
    one = only([change("running", 1), change("succeeded", 2, root)])
    assert (one.run.parent, one.run.parent_kind) == ("p/d/x", "")
    without_kind = msgspec.structs.replace(FLYTE, parent_kind="")
    assert only([change("running", 1), change("succeeded", 2, without_kind)]).run == FLYTE


def test_an_error_told_while_finalizing_is_that_of_the_failure() -> None:
    error = Error("Boom", "it broke", "user")
    assert only([change("finalizing", 1, error=error), change("failed", 2)]).error == error
    assert only([change("finalizing", 1, error=error), change("succeeded", 2)]).error is None
    assert only([change("pending", 1, error=error), change("failed", 2)]).error is None


def test_each_link_is_kept_once_in_order() -> None:
    one, two = Link("cached_from", "a", "task", "r"), Link("follows", "b", "task", "r")
    found = only([change("pending", 1, links=(two, two)), change("running", 2, links=(one, two))])
    assert found.links == [two, one]


class Counted(Link, frozen=True):
    """A link that counts how often one is compared with another, or looked up."""

    compared: ClassVar[int] = 0

    def __eq__(self, other: object) -> bool:
        Counted.compared += 1
        return super().__eq__(other)

    def __hash__(self) -> int:
        Counted.compared += 1
        return super().__hash__()


def test_thousands_of_links_told_again_and_again_cost_no_square() -> None:
    many = tuple(Counted("depends_on", f"t{number}", "task", "r") for number in range(2_000))
    Counted.compared = 0
    found = only([change(phase, n, links=many) for n, phase in enumerate(("pending", "running", "succeeded"))])
    compared = Counted.compared
    assert found.links == list(many)
    assert 0 < compared < 100 * len(many)  # a square would be 6,000 for each


# --- duplicates -----------------------------------------------------------------------------------------------------


def test_repeats_count_once() -> None:
    events = [change("running", 1), change("succeeded", 2)]
    assert attempts(events * 3) == attempts(events)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1}, {"a": 1, "b": 2}),
        ({"a": 1}, {"a": True}),
        ({"a": 1}, {"a": 1.0}),
        ({"a": 0.0}, {"a": -0.0}),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({"a": "\ud800"}, {"a": "x"}),
    ],
)
def test_two_contents_of_one_id_give_the_same_whichever_came_first(one: dict[str, Any], other: dict[str, Any]) -> None:
    pair = [change("running", 1, id="same", attributes=one), change("running", 1, id="same", attributes=other)]
    assert repr(ordered(pair)) == repr(ordered(pair[::-1]))
    assert len(ordered(pair)) == 1


def test_the_fuller_of_two_contents_stays() -> None:
    pair = [change("running", 1, id="same"), change("running", 1, id="same", attributes={"more": "facts"})]
    assert only(pair).attributes == {"more": "facts"}


# --- attempts that are told -----------------------------------------------------------------------------------------


def test_attempts_that_the_source_numbers() -> None:
    second = msgspec.structs.replace(FLYTE, attempt=2)
    events = [change("running", 1), change("failed", 2), change("running", 3, second), change("succeeded", 5, second)]
    found = attempts(events[::-1])
    assert outline(found) == [(1, "failed", ["RUNNING", "FAILED"]), (2, "succeeded", ["RUNNING", "SUCCEEDED"])]
    assert {(one.created, one.run_running) for one in found} == {(at(1), at(1))}


def test_an_attempt_without_an_end_stays_open_though_another_follows() -> None:
    found = attempts([change("running", 1), change("running", 3, msgspec.structs.replace(FLYTE, attempt=2))])
    assert [one.outcome for one in found] == ["", ""]


def test_a_fact_without_a_number_belongs_to_the_first_attempt() -> None:
    fact = Log(id="l", time=at(9), run=msgspec.structs.replace(FLYTE, attempt=0), message="deck")
    found = attempts([change("running", 1), fact, change("running", 3, msgspec.structs.replace(FLYTE, attempt=2))])
    assert [one.logs for one in found] == [[fact], []]


# --- attempts that are counted (Prefect) ----------------------------------------------------------------------------


def prefect(*steps: tuple[str, str, bool]) -> list[AnyEvent]:
    return [
        change(phase, n, PREFECT, id=f"{n:02}", native=native, next_attempt=following)
        for n, (phase, native, following) in enumerate(steps, 1)
    ]


PENDING, RUNNING = ("pending", "Pending", False), ("running", "Running", False)
AWAITING, COMPLETED = ("pending", "AwaitingRetry", True), ("succeeded", "Completed", False)
RETRYING_NOW, RETRYING_AFTER = ("running", "Retrying", True), ("running", "Retrying", False)
CRASHED, PAUSED = ("crashed", "Crashed", False), ("paused", "Paused", False)


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        pytest.param(
            [PENDING, RUNNING, RETRYING_NOW, RETRYING_NOW, COMPLETED],
            [
                (1, "failed", ["Pending", "Running", "Retrying"]),
                (2, "failed", ["Retrying", "Retrying"]),
                (3, "succeeded", ["Retrying", "Completed"]),
            ],
            id="retries without delay",
        ),
        pytest.param(
            [PENDING, RUNNING, AWAITING, RETRYING_AFTER, COMPLETED],
            [
                (1, "failed", ["Pending", "Running", "AwaitingRetry"]),
                (2, "succeeded", ["AwaitingRetry", "Retrying", "Completed"]),
            ],
            id="a retry with delay",
        ),
        pytest.param(
            [RUNNING, AWAITING, RUNNING, COMPLETED],
            [(1, "failed", ["Running", "AwaitingRetry"]), (2, "succeeded", ["AwaitingRetry", "Running", "Completed"])],
            id="a flow's retry",
        ),
        pytest.param(
            [RUNNING, PAUSED, ("running", "Resumed", False), COMPLETED],
            [(1, "succeeded", ["Running", "Paused", "Resumed", "Completed"])],
            id="a pause is no retry",
        ),
        pytest.param(
            [RUNNING, CRASHED, AWAITING, RETRYING_AFTER, COMPLETED],
            [
                (1, "crashed", ["Running", "Crashed"]),
                (2, "succeeded", ["AwaitingRetry", "Retrying", "Completed"]),
            ],
            id="forced after a crash",
        ),
        pytest.param(
            [PENDING, RUNNING, AWAITING, CRASHED],
            [(1, "failed", ["Pending", "Running", "AwaitingRetry"]), (2, "crashed", ["AwaitingRetry", "Crashed"])],
            id="stopped while it waits for its retry",
        ),
        pytest.param(
            [PENDING, ("skipped", "NotReady", False)], [(1, "skipped", ["Pending", "NotReady"])], id="never ready"
        ),
        pytest.param(
            [PENDING, AWAITING, RETRYING_AFTER, COMPLETED],
            [
                (1, "failed", ["Pending", "AwaitingRetry"]),
                (2, "succeeded", ["AwaitingRetry", "Retrying", "Completed"]),
            ],
            id="the first Running is lost",
        ),
        pytest.param(
            [RETRYING_NOW, COMPLETED], [(1, "succeeded", ["Retrying", "Completed"])], id="all before it is lost"
        ),
        pytest.param(
            [("pending", "Scheduled", False), ("pending", "Late", False), ("cancelled", "Cancelled", False)],
            [(1, "cancelled", ["Scheduled", "Late", "Cancelled"])],
            id="cancelled before it ran",
        ),
    ],
)
def test_attempts_counted_from_the_phases(
    steps: list[tuple[str, str, bool]], expected: list[tuple[int, str, list[str]]]
) -> None:
    events = prefect(*steps)
    found = attempts(events)
    assert outline(found) == expected
    assert outline(attempts(events[::-1])) == expected
    assert [one.run.attempt for one in found] == list(range(1, len(found) + 1))


def test_the_attempt_left_behind_ends_when_the_next_begins_with_the_error_told_then() -> None:
    error = Error("ValueError", "no", "user")
    events = prefect(PENDING, RUNNING, AWAITING, RETRYING_AFTER, COMPLETED)
    events[2] = msgspec.structs.replace(events[2], error=error, attributes={"of": "the second"})
    one, two = attempts(events)
    assert (one.end, one.error, one.attributes) == (at(3), error, {})
    assert (two.start, two.first_running, two.error, two.attributes) == (at(3), at(4), None, {"of": "the second"})


def test_a_made_up_end_is_no_log_and_nobodys_own_event_is_taken_for_one() -> None:
    events = prefect(RUNNING, RETRYING_NOW, COMPLETED)
    own = change("pending", 0, PREFECT, id="my-gave-up")
    closed, _ = close_all([own, *events])
    logged = [event.id for one in closed for event, _ in log_events(one.attempt)]
    assert logged == ["my-gave-up", "01", "02", "03"]


def test_late_facts_of_a_counted_run_are_absorbed_by_its_last_attempt() -> None:
    rolled_back = Log(id="z", time=at(30), run=PREFECT, message="rolled back")
    one = only([*prefect(RUNNING, COMPLETED), rolled_back])
    assert one.late == [rolled_back]


# --- what a source should not send ----------------------------------------------------------------------------------

NODE = msgspec.structs.replace(FLYTE, kind="node", id="p/d/x/n0", parent="p/d/x", parent_kind="workflow")
WORKFLOW = Run("flyte", "workflow", "p/d/x", "flow", "p/d/x", None, 1, "p/d", "flow")


@pytest.mark.parametrize(
    ("run", "phases", "illegal"),
    [
        (WORKFLOW, ["running", "pending", "running", "succeeded"], 1),
        (WORKFLOW, ["finalizing", "running", "failed"], 1),
        (WORKFLOW, ["finalizing", "paused", "pending"], 1),
        (WORKFLOW, ["succeeded", "running"], 1),
        (WORKFLOW, ["succeeded", "failed"], 1),
        (WORKFLOW, ["succeeded", "succeeded"], 0),
        (WORKFLOW, ["running", "running", "paused", "running", "finalizing", "succeeded"], 0),
        (FLYTE, ["running", "pending", "running", "succeeded"], 0),
        (NODE, ["running", "pending", "running", "succeeded"], 0),
        (msgspec.structs.replace(FLYTE, source="prefect"), ["running", "pending", "running", "succeeded"], 1),
        (WORKFLOW, ["running", "unheard of", "succeeded", "unheard of"], 0),
    ],
)
def test_illegal_transitions_are_counted(run: Run, phases: list[str], illegal: int) -> None:
    assert only([change(phase, n, run) for n, phase in enumerate(phases)]).illegal == illegal


def test_an_unknown_phase_is_kept_as_a_log_under_its_own_word() -> None:
    odd = change("teleported", 2, native="BEAMED", reason="by Scotty", attributes={"deck": 5})
    one = only([change("running", 1), odd, change("succeeded", 3)])
    assert [phase.phase for phase in one.phases] == ["running", "succeeded"]
    (log,) = one.logs
    assert (log.id, log.time, log.event_name, log.message) == (odd.id, at(2), "flyte.phase.BEAMED", "by Scotty")
    assert log.attributes == one.attributes == {"deck": 5}


# --- the outcome among neighbours -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("run", "has_later", "parent", "outcome"),
    [
        (FLYTE, False, "", "cancelled"),
        (FLYTE, False, "cancelled", "cancelled"),
        (FLYTE, False, "skipped", "cancelled"),
        (FLYTE, True, "", "timed_out"),
        (FLYTE, True, "cancelled", "timed_out"),
        (FLYTE, False, "failed", "timed_out"),
        (FLYTE, False, "crashed", "timed_out"),
        (FLYTE, False, "timed_out", "timed_out"),
        (FLYTE, False, "succeeded", "timed_out"),
        (msgspec.structs.replace(FLYTE, parent_kind="task"), False, "failed", "cancelled"),
        (msgspec.structs.replace(FLYTE, parent_kind="task"), False, "succeeded", "cancelled"),
        (msgspec.structs.replace(FLYTE, parent_kind="task"), True, "", "timed_out"),
        (NODE, False, "failed", "cancelled"),
        (PREFECT, True, "failed", "cancelled"),
    ],
)
def test_a_flyte_abort_that_nobody_asked_for_is_a_deadline(
    run: Run, has_later: bool, parent: str, outcome: str
) -> None:
    assert settled(only([change("cancelled", 1, run)]), has_later, parent) == outcome


def test_only_an_abort_is_settled() -> None:
    assert settled(only([change("failed", 1)]), True, "failed") == "failed"
    assert settled(only([change("running", 1)]), True, "failed") == ""


def test_which_attempt_was_under_way() -> None:
    second = msgspec.structs.replace(FLYTE, attempt=2)
    found = attempts([change("running", 2), change("failed", 3), change("running", 5, second)])
    assert [at_time(found, at(t)) for t in (1, 2, 4, 5, 9)] == [1, 1, 1, 2, 2]
    assert at_time([], at(1)) == 1
