"""Each event as a log record."""

from __future__ import annotations

from typing import Any

import pytest

from otel_events.core.logs import log, severity_text
from otel_events.model.event import PHASES, Error, Log, PhaseChange, Report, Run, Scalar, Stat
from otel_events.model.telemetry import LogData

TASK = Run("flyte", "task", "p/d/x/n0/t", "train", "p/d/x", "p/d/x/n0", 1, "p/d", "my.flow", "node")
TRACE, SPAN = b"t" * 16, b"s" * 8
IDENTITY: dict[str, Scalar] = {
    "otel_events.source": "flyte",
    "otel_events.namespace": "p/d",
    "otel_events.kind": "task",
    "otel_events.run.id": "p/d/x/n0/t",
    "otel_events.attempt": 2,
    "cicd.pipeline.name": "my.flow",
    "cicd.pipeline.task.name": "train",
}


def change(phase: str, **more: Any) -> PhaseChange:
    return PhaseChange(id="e", time=5, run=TASK, phase=phase, native=phase.upper(), **more)


def test_a_change_of_phase_is_the_log_event_of_its_name() -> None:
    record = log(change("running", reason="pod started", attributes={"flyte.node_id": "n0"}), TRACE, SPAN, 2)
    own: dict[str, Scalar] = {"flyte.node_id": "n0", "otel_events.phase.native": "RUNNING"}
    assert record == LogData(
        5, 5, 9, "INFO", "pod started", own | IDENTITY, TRACE, SPAN, event_name="otel_events.run.running"
    )


@pytest.mark.parametrize("phase", sorted(PHASES))
def test_severity_follows_the_phase(phase: str) -> None:
    record = log(change(phase), TRACE, SPAN, 1)
    assert record.severity == PHASES[phase].severity
    assert record.severity_text == {9: "INFO", 13: "WARN", 17: "ERROR"}[record.severity]
    assert (record.event_name, record.body) == (f"otel_events.run.{phase}", phase.upper())


def test_an_error_is_told_as_an_exception() -> None:
    fields = log(change("failed", error=Error("Boom", "it broke", "user", "Traceback")), TRACE, SPAN, 2).attributes
    assert fields == IDENTITY | {
        "otel_events.phase.native": "FAILED",
        "error.type": "Boom",
        "otel_events.error.kind": "user",
        "exception.type": "Boom",
        "exception.message": "it broke",
        "exception.stacktrace": "Traceback",
    }
    bare = log(change("failed", error=Error("")), TRACE, SPAN, 2).attributes
    assert bare == IDENTITY | {
        "otel_events.phase.native": "FAILED",
        "error.type": "_OTHER",
        "exception.type": "_OTHER",
    }


def test_an_unknown_phase_keeps_its_own_word() -> None:
    record = log(change("beamed"), TRACE, SPAN, 1)
    assert (record.event_name, record.severity, record.body) == ("flyte.phase.BEAMED", 9, "BEAMED")


def test_a_late_event_is_marked() -> None:
    assert log(change("running"), TRACE, SPAN, 1, late=True).attributes["otel_events.late"] is True
    assert "otel_events.late" not in log(change("running"), TRACE, SPAN, 1).attributes


def test_a_line_of_text() -> None:
    line = Log(id="l", time=7, run=TASK, message="hello", severity=18, logger="my.logger", event_name="greeting")
    record = log(line, TRACE, SPAN, 2)
    assert record == LogData(
        7, 7, 18, "ERROR", "hello", IDENTITY | {"logger": "my.logger"}, TRACE, SPAN, event_name="greeting"
    )


def test_a_report() -> None:
    report = Report(id="r", time=7, run=TASK, name="deck", media_type="text/html", uri="s3://d", content="<b>", step=4)
    record = log(report, TRACE, SPAN, 2)
    assert (record.event_name, record.body) == ("otel_events.report", "deck")
    assert record.attributes == IDENTITY | {
        "otel_events.report.name": "deck",
        "otel_events.report.media_type": "text/html",
        "otel_events.report.uri": "s3://d",
        "otel_events.report.step": 4,
    }


def test_a_stat_that_came_late() -> None:
    record = log(Stat(id="s", time=7, run=TASK, name="loss", value=0.5), TRACE, SPAN, 2, late=True)
    assert (record.event_name, record.body) == ("otel_events.stat", "loss = 0.5")
    own: dict[str, Scalar] = {"otel_events.stat.name": "loss", "otel_events.stat.value": 0.5, "otel_events.late": True}
    assert record.attributes == IDENTITY | own


def test_an_event_of_no_run_names_its_resource() -> None:
    of = Run("prefect", "workflow", "", "", "prefect.work-pool.w1")
    record = log(Log(id="l", time=7, run=of, message="pool is ready"), b"", b"", 1)
    assert record.attributes == {"otel_events.source": "prefect", "otel_events.resource.id": "prefect.work-pool.w1"}
    assert (record.trace_id, record.span_id) == (b"", b"")


def test_contexts_are_no_attributes_and_the_event_keeps_its_own() -> None:
    event = change("running", attributes={"traceparent": "x", "otel_events.parent.traceparent": "y", "kept": 1})
    assert log(event, TRACE, SPAN, 2).attributes == IDENTITY | {"kept": 1, "otel_events.phase.native": "RUNNING"}
    assert len(event.attributes) == 3


def test_what_a_source_says_does_not_override_who_said_it() -> None:
    event = change("running", attributes={"otel_events.source": "evil", "otel_events.run.id": "other"})
    assert log(event, TRACE, SPAN, 2).attributes.items() >= IDENTITY.items()


def test_texts_of_severities() -> None:
    texts = [severity_text(number) for number in (0, 1, 4, 5, 8, 9, 12, 13, 16, 17, 20, 21, 24, 25)]
    expected = [
        "",
        "TRACE",
        "TRACE",
        "DEBUG",
        "DEBUG",
        "INFO",
        "INFO",
        "WARN",
        "WARN",
        "ERROR",
        "ERROR",
        "FATAL",
        "FATAL",
        "",
    ]
    assert texts == expected
