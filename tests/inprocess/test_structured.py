"""structlog lines carry the run at hand, and become OTLP records without hurting who logs."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import structlog
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from otel_events.inprocess.attempts import ProcessAttempt
from otel_events.inprocess.context import enter, leave
from otel_events.inprocess.structured import LEVELS, ToOtlp, add_otel_context, console, line_writer, record
from otel_events.model.event import Run
from otel_events.model.identity import span_id, trace_id
from otel_events.model.telemetry import Attributes, LogData

RUN = Run("python", "task", "r1", "train", "r0", "r0", 2, "", "etl", "workflow")
TRACE, SPAN = trace_id("python", "", "r0"), span_id("python", "", "r1", 2, "task")
NOW = 1_767_225_600_000_000_000


@pytest.fixture(autouse=True)
def defaults_again() -> Iterator[None]:
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


@contextmanager
def entered(run: Run) -> Iterator[None]:
    tokens = enter(ProcessAttempt(run))
    try:
        yield
    finally:
        leave(tokens)


def made(event: dict[str, Any], method: str = "info") -> LogData:
    return record(event, method, NOW)


def otlp_log(*more: Any) -> tuple[list[LogData], ToOtlp, Any]:
    """(records taken so far, the processor, a logger that ends in it and prints nothing)."""
    taken: list[LogData] = []
    processor = ToOtlp(taken.append, lambda: NOW)
    chain = [*console(json=True, otlp=processor)[:-2], *more, lambda *_: ""]
    return taken, processor, structlog.wrap_logger(structlog.ReturnLogger(), processors=chain)


# --- context --------------------------------------------------------------------------------------------------------


def test_outside_of_any_run_nothing_is_added() -> None:
    assert add_otel_context(None, "info", {"event": "x"}) == {"event": "x"}


def test_the_run_at_hand() -> None:
    with entered(RUN):
        line = add_otel_context(None, "info", {"event": "x"})
    assert line == {
        "event": "x",
        "trace_id": TRACE.hex(),
        "span_id": SPAN.hex(),
        "trace_flags": "01",
        "otel_events.run.id": "r1",
        "otel_events.attempt": 2,
    }


def test_a_span_inside_the_run_is_nearer() -> None:
    tracer = TracerProvider().get_tracer("t")
    with entered(RUN), tracer.start_as_current_span("inner") as span:
        line = add_otel_context(None, "info", {"event": "x"})
        where = span.get_span_context()
    assert (line["trace_id"], line["span_id"]) == (TRACE.hex(), f"{where.span_id:016x}")
    assert line["otel_events.run.id"] == "r1"


def test_a_span_outside_of_any_run() -> None:
    where = trace.SpanContext(0xAB, 0xCD, is_remote=False, trace_flags=trace.TraceFlags(0))
    with trace.use_span(trace.NonRecordingSpan(where)):
        line = add_otel_context(None, "info", {})
    assert line == {"trace_id": "ab".rjust(32, "0"), "span_id": "cd".rjust(16, "0"), "trace_flags": "00"}


def test_the_run_is_found_where_the_span_was_lost() -> None:
    with entered(RUN), trace.use_span(trace.INVALID_SPAN):
        assert add_otel_context(None, "info", {})["span_id"] == SPAN.hex()


def test_a_value_of_the_callers_own_under_our_key_is_kept_beside() -> None:
    with entered(RUN):
        line = add_otel_context(None, "info", {"span_id": "mine", "trace_flags": "01"})
    assert (line["span_id"], line["user.span_id"]) == (SPAN.hex(), "mine")
    assert "user.trace_flags" not in line


# --- records --------------------------------------------------------------------------------------------------------


def test_a_line_of_a_run_as_a_record() -> None:
    taken, _, log = otlp_log()
    with entered(RUN):
        log.info("loaded", rows=5, event_name="data.loaded")
    (found,) = taken
    assert (found.time, found.observed, found.severity, found.severity_text) == (NOW, NOW, 9, "INFO")
    assert (found.body, found.event_name) == ("loaded", "data.loaded")
    assert (found.trace_id, found.span_id) == (TRACE, SPAN)
    code = {key: value for key, value in found.attributes.items() if key.startswith("code.")}
    assert found.attributes == code | {"rows": 5, "otel_events.run.id": "r1", "otel_events.attempt": 2}
    assert code["code.file.path"] == __file__
    assert code["code.function.name"] == f"{__name__}.test_a_line_of_a_run_as_a_record"
    assert isinstance(code["code.line.number"], int)


def test_a_record_outside_of_any_run_belongs_to_no_trace() -> None:
    found = made({"event": "x"})
    assert (found.trace_id, found.span_id, found.attributes) == (b"", b"", {})


@pytest.mark.parametrize(
    ("level", "severity", "text"),
    [
        ("trace", 1, "TRACE"),
        ("debug", 5, "DEBUG"),
        ("info", 9, "INFO"),
        ("warning", 13, "WARN"),
        ("warn", 13, "WARN"),
        ("error", 17, "ERROR"),
        ("exception", 17, "ERROR"),
        ("critical", 21, "FATAL"),
        ("fatal", 21, "FATAL"),
        ("CRITICAL", 21, "FATAL"),
        ("of my own", 9, "INFO"),
    ],
)
def test_severities(level: str, severity: int, text: str) -> None:
    by_level, by_method = made({"event": "x", "level": level}, "of my own"), made({"event": "x"}, level.lower())
    assert (by_level.severity, by_level.severity_text) == (severity, text)
    assert by_method.severity == severity
    assert {"critical", "exception", "error", "warn", "warning", "info", "debug", "notset"} <= set(LEVELS)


def test_values_become_what_an_attribute_can_hold() -> None:
    values = {"s": "x", "i": -(2**63) + 1, "f": 0.5, "b": True, "none": None, "big": 2**63, "list": [1, {"a": {2}}]}
    found = made({"event": {"a": 1}, **values, "type": int}).attributes
    assert found == {
        **{"s": "x", "i": -(2**63) + 1, "f": 0.5, "b": True, "big": str(2**63)},
        **{"list": '[1,{"a":[2]}]', "type": "<class 'int'>"},
    }
    assert made({"event": {"a": 1}}).body == '{"a":1}'


def test_reserved_keys_are_protected() -> None:
    with entered(RUN):
        event = {"event": "x", "trace_id": "mine", "otel_events.run.id": "mine", "code.line.number": 7, "lineno": 8}
        found = made(event)
    assert (found.trace_id, found.attributes["otel_events.run.id"]) == (TRACE, "r1")
    assert found.attributes["code.line.number"] == 8
    assert {key: value for key, value in found.attributes.items() if key.startswith("user.")} == {
        "user.trace_id": "mine",
        "user.otel_events.run.id": "mine",
        "user.code.line.number": 7,
    }


class OddError(Exception):
    """One whose name needs its module."""


def test_an_exception() -> None:
    taken, _, log = otlp_log()
    try:
        raise OddError("it broke")
    except OddError as error:
        log.exception("failed")
        log.error("failed", exc_info=error)
        log.error("failed", exc_info=(type(error), error, error.__traceback__))
    for found in taken:
        assert found.severity == 17
        assert found.attributes["exception.type"] == f"{__name__}.OddError"
        assert found.attributes["exception.message"] == "it broke"
        assert str(found.attributes["exception.stacktrace"]).startswith("Traceback (most recent call last):")
    assert len(taken) == 3


def test_an_exception_that_was_rendered_before() -> None:
    try:
        raise ValueError("no")
    except ValueError:
        as_text = structlog.processors.format_exc_info(None, "error", {"event": "x", "exc_info": True})
        as_data = console(json=True)[-2](None, "error", {"event": "x", "exc_info": True})
    assert str(made(dict(as_text)).attributes["exception.stacktrace"]).endswith("ValueError: no")
    assert isinstance(as_data, dict)
    fields = made(as_data).attributes
    assert (fields["exception.type"], fields["exception.message"]) == ("ValueError", "no")


def test_no_exception_at_hand_is_none() -> None:
    assert made({"event": "x", "exc_info": True}).attributes == {}


def test_a_stack_that_was_asked_for() -> None:
    taken, _, log = otlp_log()
    log.info("here", stack_info=True)
    assert "test_a_stack_that_was_asked_for" in str(taken[0].attributes["code.stacktrace"])


def test_secrets_do_not_reach_the_wire() -> None:
    try:
        raise ValueError("password=hunter2")
    except ValueError:
        found = made({"event": "token=hunter2", "api_key": "hunter2", "event_name": "dsn", "exc_info": True})
    assert "hunter2" not in repr(found)
    assert found.attributes["api_key"] == "[redacted]"


# --- never hurt the host --------------------------------------------------------------------------------------------


def test_the_event_dict_goes_on_unchanged() -> None:
    event = {"event": "x", "trace_id": "mine", "nested": {"password": "p"}, "exc_info": True}
    before = repr(event)
    assert ToOtlp(lambda _: None)(None, "info", event) is event
    assert repr(event) == before


def test_what_fails_is_counted_and_not_raised() -> None:
    def refuse(_: LogData) -> None:
        raise OSError("full")

    class Hostile:
        def __str__(self) -> str:
            raise RuntimeError("no")

    refusing = ToOtlp(refuse)
    assert refusing(None, "info", {"event": "x"}) == {"event": "x"}
    assert refusing.failed == 1
    taken: list[LogData] = []
    hostile = ToOtlp(taken.append)
    hostile(None, "info", {"event": Hostile()})
    hostile(None, "info", {"event": "fine"})
    assert (hostile.failed, [found.body for found in taken]) == (1, ["fine"])


def test_lines_that_the_sender_logs_are_not_sent() -> None:
    sent: list[str] = []

    def send(found: LogData) -> None:
        sent.append(found.body)
        log.info("sent one")

    log = structlog.wrap_logger(structlog.ReturnLogger(), processors=[ToOtlp(send), lambda *_: ""])
    log.info("one")
    log.info("two")
    assert sent == ["one", "two"]


# --- console --------------------------------------------------------------------------------------------------------


def test_lines_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    taken: list[LogData] = []
    structlog.configure(processors=console(json=True, otlp=ToOtlp(taken.append)))
    structlog.contextvars.bind_contextvars(user="bob")
    log, hidden = structlog.get_logger(), "a local variable"
    with entered(RUN):
        try:
            raise ValueError("two\nlines")
        except ValueError:
            log.exception("broken", n=len(hidden))
    (line,) = capsys.readouterr().out.splitlines()
    found = json.loads(line)
    assert (found["event"], found["level"], found["user"], found["n"]) == ("broken", "error", "bob", 16)
    assert (found["trace_id"], found["span_id"], found["trace_flags"]) == (TRACE.hex(), SPAN.hex(), "01")
    assert found["timestamp"].endswith("Z")
    assert found["exception"][0]["exc_value"] == "two\nlines"
    assert hidden not in line
    assert [one.body for one in taken] == ["broken"]
    assert "timestamp" not in taken[0].attributes
    assert taken[0].attributes["user"] == "bob"


def test_lines_of_text_have_no_colours_where_no_terminal_is(capsys: pytest.CaptureFixture[str]) -> None:
    structlog.configure(processors=console(json=False))
    hidden = "a local variable"
    try:
        raise ValueError("no")
    except ValueError:
        structlog.get_logger().exception("broken", n=len(hidden))
    shown = capsys.readouterr().out
    assert "broken" in shown
    assert "ValueError: no" in shown
    assert "\x1b" not in shown
    assert hidden not in shown.replace('hidden = "a local variable"', "")


def test_a_gateways_events_as_structlog_records() -> None:
    told = io.StringIO()
    fields: Attributes = {"otel_events.run.id": "r\x1b[31m", "otel_events.attempt": 1}
    ids = b"t" * 16, b"s" * 8
    log = LogData(10**18 + 5, 10**18 + 5, 17, "ERROR", "gone\nwrong", fields, *ids, "otel_events.run.failed")
    line_writer(json=True, file=told)(log)
    (line,) = told.getvalue().splitlines()
    assert json.loads(line) == {
        "timestamp": "2001-09-09T01:46:40.000000005Z",
        "level": "error",
        "event": "gone\\u000awrong",
        "event_name": "otel_events.run.failed",
        "trace_id": (b"t" * 16).hex(),
        "span_id": (b"s" * 8).hex(),
        "trace_flags": "01",
        "otel_events.run.id": "r\\u001b[31m",
        "otel_events.attempt": 1,
    }
    plain = io.StringIO()
    line_writer(json=False, file=plain)(log)
    (text,) = plain.getvalue().splitlines()
    assert "gone\\u000awrong" in text
