"""Law 1 of the design: any order, any repeats, same telemetry. And what must hold of any span whatever came."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from otel_events.core import fold
from otel_events.core.fold import RESERVED
from otel_events.core.logs import log
from otel_events.core.spans import span
from otel_events.core.traces import Closed, close_all, log_events
from otel_events.model import telemetry
from otel_events.model.declared import traits_of
from otel_events.model.event import PHASES, AnyEvent, PhaseChange, Report, Run
from otel_events.model.telemetry import LogData, SpanData
from tests.strategies import roots, runs


def telemetry_of(events: list[AnyEvent]) -> tuple[list[Closed], list[SpanData], list[LogData]]:
    closed, rest = close_all(events)
    spans = [span(one.attempt, one.where, one.outcome, one.previous) for one in closed]
    logs = [
        log(event, one.where.trace_id, one.where.span_id, one.attempt.run.attempt, late)
        for one in closed
        for event, late in log_events(one.attempt)
    ]
    logs += [log(event, b"", b"", one.run.attempt, late) for one in rest for event, late in log_events(one)]
    return closed, spans, logs


def written(found: Any) -> str:
    """Everything that can show, order of attributes and types of numbers among it: equality alone takes 1 for True."""
    return repr(found)


@given(st.data(), roots())
def test_any_order_and_any_repeats_give_the_same_telemetry(data: st.DataObject, events: list[AnyEvent]) -> None:
    repeats = data.draw(st.lists(st.sampled_from(events), max_size=10)) if events else []
    other = data.draw(st.permutations(events + repeats))
    assert written(telemetry_of(other)) == written(telemetry_of(events))
    assert written(close_all(other)[1]) == written(close_all(events)[1])


@given(roots())
def test_each_attempt_is_one_true_span_in_one_trace(events: list[AnyEvent]) -> None:
    closed, spans, _ = telemetry_of(events)
    assert len({(made.trace_id, made.span_id) for made in spans}) == len(spans)
    assert len({made.trace_id for made in spans}) <= 1
    finals = [one.attempt.run.id for one in closed if one.final]
    assert sorted(finals) == sorted({one.attempt.run.id for one in closed})
    known = {event.time for event in events}
    for one, made in zip(closed, spans, strict=True):
        assert (len(made.trace_id), len(made.span_id)) == (16, 8)
        assert any(made.trace_id)
        assert any(made.span_id)
        assert made.end >= made.start > 0
        assert {made.start, made.end, *(event.time for event in made.events)} <= known
        assert all(made.start <= change.time <= made.end for change in one.attempt.phases)
        assert float(made.attributes.get("otel_events.queue.duration", 0)) >= 0
        assert float(made.attributes.get("otel_events.run.duration", 0)) >= 0
        assert not set(RESERVED) & set(made.attributes)
        check_outcome(one, made)


def check_outcome(one: Closed, made: SpanData) -> None:
    """An attempt has at most one outcome, which absorbs what comes after it; status and completeness follow from it."""
    outcomes = [change for change in one.attempt.phases if PHASES[change.phase].outcome]
    assert len(outcomes) == bool(one.outcome)
    assert outcomes or not one.attempt.late
    assert all(event.time >= one.attempt.end for event in one.attempt.late)
    error = bool(one.outcome) and PHASES[one.outcome].error
    assert made.status == (telemetry.ERROR if error else telemetry.UNSET)
    assert (made.attributes.get("otel_events.incomplete") is True) == (not one.outcome)


@given(roots())
def test_nothing_is_dropped_in_silence(events: list[AnyEvent]) -> None:
    closed, rest = close_all(events)
    found: set[tuple[str, str]] = set()
    for one in [*(one.attempt for one in closed), *rest]:
        for event in (*one.phases, *one.logs, *one.stats, *one.reports, *one.late):
            found.add((one.run.id, event.id.split("\0")[0]))
    assert found == {(event.run.id, event.id) for event in events}


@given(roots())
def test_events_are_left_as_they_were_and_survive_being_kept(events: list[AnyEvent]) -> None:
    before = written(events)
    made = written(telemetry_of(events))
    assert written(events) == before
    kept = [msgspec.msgpack.decode(msgspec.msgpack.encode(event), type=AnyEvent) for event in events]
    assert written(telemetry_of(kept)) == made


@st.composite
def told_in_order(draw: st.DrawFn) -> list[AnyEvent]:
    """Events of one run as nearly all runs are told: phases in order of time, a report here and there, an outcome."""
    run = draw(runs())[-1]
    times = sorted(draw(st.sets(st.integers(1, 50), min_size=1, max_size=6)))
    found: list[AnyEvent] = []
    for at, time in enumerate(times):
        phase = draw(st.sampled_from(["succeeded", "cancelled", "skipped"] if at == len(times) - 1 else sorted(PHASES)))
        attributes = draw(st.dictionaries(st.sampled_from("abc"), st.integers(0, 3), max_size=2))
        event_id = draw(st.sampled_from([f"e{at}", f"e{at}", "e0"]))
        found.append(PhaseChange(id=event_id, time=time, run=run, phase=phase, native=phase, attributes={**attributes}))
        if draw(st.booleans()):
            found.append(Report(id=f"r{at}", time=time, run=run, name="log", attributes={**attributes}))
    return found


@given(told_in_order())
def test_the_short_way_of_the_fold_gives_what_the_long_one_gives(events: list[AnyEvent]) -> None:
    short = fold._plain(events)
    assert short is None or written([short]) == written(fold._general(events, traits_of(events[0].run.source)))


def test_the_short_way_is_taken_for_what_nearly_all_runs_are() -> None:
    run = Run("flyte", "task", "p/d/x/n0/t", "t", "p/d/x", "p/d/x/n0", 1, "p/d", parent_kind="node")
    told_phases = enumerate(("pending", "running", "succeeded"), 1)
    assert fold._plain([PhaseChange(id=p, time=at, run=run, phase=p, native=p) for at, p in told_phases])
