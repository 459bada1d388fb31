"""The tables of attributes, and that a new row shows up wherever telemetry is made."""

from __future__ import annotations

import doctest
from importlib import import_module
from typing import Any

import msgspec
import pytest
from hypothesis import given

from otel_events.core.attributes import TABLES, NumberedRun, Row, Scope, Table, Tables, attributes_tables
from otel_events.core.fold import Attempt
from otel_events.core.logs import log
from otel_events.core.spans import span
from otel_events.core.traces import close_all
from otel_events.model.event import AnyEvent, Error, Log, PhaseChange, Report, Run, Stat
from otel_events.otlp import encode_log, encode_span
from otel_events.otlp.fast import Logs, Spans
from tests.strategies import SECOND, START, roots

TASK = Run("flyte", "task", "p/d/x/n0/t", "train", "p/d/x", "p/d/x", 1, "p/d", "my.flow", "workflow")
REPORT = Report(id="r", time=START + 2 * SECOND, run=TASK, name="deck", uri="s3://deck")
CHANGES = [
    PhaseChange(id=phase, time=START + number * SECOND, run=TASK, phase=phase, native=phase.upper())
    for number, phase in enumerate(("pending", "running", "finalizing", "succeeded"))
]


def check(tables: Tables, expected: dict[str, int], claims: dict[str, Any] | None = None) -> None:
    """Both ways to bytes agree for a run whose events use the names in ``claims``, and show ``expected`` (how often
    each name stands in the span, its events and its log records)."""
    reported: tuple[AnyEvent, ...] = (*CHANGES, REPORT)
    events: list[Any] = [msgspec.structs.replace(event, attributes=claims or {}) for event in reported]
    [ended], _ = close_all(events)
    spans, logs, where = Spans(tables), Logs(tables), ended.where
    for _ in range(2):  # the second time from the caches
        data = span(ended.attempt, where, ended.outcome, ended.previous, tables)
        assert spans.encode(ended.attempt, where, ended.outcome, ended.previous) == encode_span(data)
        records = [log(event, where.trace_id, where.span_id, 1, tables=tables) for event in events]
        assert [logs.record(event, where, 1, True, False) for event in events] == [
            encode_log(record) for record in records
        ]
    fields = [data.attributes, *(event.attributes for event in data.events), *(record.attributes for record in records)]
    assert {name: sum(name in each for each in fields) for name in expected} == expected


def native(subject: Attempt | PhaseChange) -> str | None:
    return subject.native.lower() or None


@pytest.mark.parametrize("claims", [{}, {"ours.new": "a source's"}], ids=["new", "claimed"])
@pytest.mark.parametrize("scope", ["definition", "run", "event"])
def test_a_new_row_is_on_spans_and_logs_whichever_way_they_are_made(scope: Scope, claims: dict[str, Any]) -> None:
    step: Row[Attempt] = Row("ours.new", str, scope, native, "new")
    owner: Row[NumberedRun] = Row("ours.new", int, scope, lambda owner: len(owner.run.name), "new")
    tables = Tables(step_span=TABLES.step_span.plus(step), run_log=TABLES.run_log.plus(owner))
    check(tables, {"ours.new": 1 + 5}, claims)


@pytest.mark.parametrize("scope", ["change", "event"])
def test_a_new_row_of_phase_changes_and_reports(scope: Scope) -> None:
    change: Row[PhaseChange] = Row("ours.new", str, scope, native, "new")
    moment: Row[PhaseChange] = Row("ours.time", int, "event", lambda change: change.time, "new")
    report: Row[Report] = Row("ours.length", int, "event", lambda report: len(report.uri), "new")
    tables = Tables(
        phase_event=TABLES.phase_event.plus(change, moment),
        phase_log=TABLES.phase_log.plus(change, moment),
        report=TABLES.report.plus(report),
    )
    check(tables, {"ours.new": 4 + 4, "ours.time": 4 + 4, "ours.length": 1 + 1})


def test_rows_stand_in_the_order_of_the_table_and_may_be_left_out() -> None:
    first: Row[Attempt] = Row("ours.first", str, "event", lambda attempt: attempt.run.id, "new")
    none: Row[Attempt] = Row("ours.none", str, "definition", lambda _: None, "new")
    empty: Row[Attempt] = Row("ours.never", str, "event", lambda _: None, "new")
    tables = Tables(step_span=Table(first, none, *TABLES.step_span.rows, empty))
    check(tables, {"ours.first": 1, "ours.none": 0, "ours.never": 0})
    [ended], _ = close_all(CHANGES)
    assert next(iter(span(ended.attempt, ended.where, ended.outcome, None, tables).attributes)) == "ours.first"


@pytest.mark.parametrize("table", msgspec.structs.astuple(TABLES))
def test_a_table_names_each_attribute_once(table: Table[Any]) -> None:
    assert len(table.names) == len(table.rows) == len({row.name for row in table.rows})


@given(roots())
def test_each_value_is_of_the_type_that_its_row_says(events: list[AnyEvent]) -> None:
    closed, _ = close_all(events)
    subjects: list[tuple[Table[Any], Any]] = []
    for ended in closed:
        attempt = ended.attempt
        subjects += (TABLES.workflow_span, attempt), (TABLES.step_span, attempt)
        subjects += [(TABLES.run_log, NumberedRun(attempt.run, 1)), (TABLES.resource_log, NumberedRun(attempt.run, 1))]
    for event in events:
        subjects += [(table, event) for table in BY_SHAPE[type(event)]]
        if isinstance(event, PhaseChange) and event.error:
            subjects += (TABLES.exception_event, event.error), (TABLES.error_log, event.error)
    for table, subject in subjects:
        for row in table.rows:
            value = row.value(subject)
            assert value is None or type(value) is row.type


BY_SHAPE: dict[type, tuple[Table[Any], ...]] = {
    PhaseChange: (TABLES.phase_event, TABLES.phase_log, TABLES.late_log),
    Report: (TABLES.report,),
    Log: (TABLES.line_log,),
    Stat: (TABLES.stat_log,),
}


def test_the_stack_of_an_error_is_left_out_where_there_is_none() -> None:
    assert TABLES.error_log.of(Error("Boom")) == {"error.type": "Boom", "exception.type": "Boom"}


@pytest.mark.parametrize("module", ["attributes", "spans", "logs", "traces", "redact", "exposition"])
def test_the_examples_run(module: str) -> None:
    result = doctest.testmod(import_module(f"otel_events.core.{module}"))
    assert result.failed == 0


def test_every_table_is_printed() -> None:
    page = attributes_tables()
    rows = {row.name for table in msgspec.structs.astuple(TABLES) for row in table.rows}
    assert {name for name in rows if f"| `{name}` |" not in page} == set()
    assert page.count("| --- | --- | --- |") == len(msgspec.structs.astuple(TABLES))
