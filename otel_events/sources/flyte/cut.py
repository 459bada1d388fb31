"""Reads a task event by comparing it with what the events of its attempt have in common, mostly without parsing.

Writers put the fields of a message in the order of their numbers (protobuf's Go, C++ and Python libraries all do). So
what follows the identity (fields 1 to 3) in the record of a usual event is

    phase 4 | producer_id 5 | logs 6 ... | occurred_at 7 | input_uri 8 | output_uri 9, phase_version 12, reason 13
    | task_type 14, metadata 16, event_version 18 | reported_at 20

where producer_id, input_uri and the fields from task_type on are the same bytes in each event of an attempt, and those
from output_uri to reason (the *middle*) come again in many runs. The first event of an attempt is cut at its tags,
which gives the constant bytes and the attributes made of them; in later events these bytes are compared at their
places. Cuts are only made where fields end, so the values are those that a parser reads. Every other layout is left to
the general decoder. Nothing here decides about redaction: intake looks at the record itself.
"""

from __future__ import annotations

from flyteidl.core import execution_pb2
from flyteidl.event import event_pb2
from google.protobuf import timestamp_pb2

from otel_events.model.bounded import remember
from otel_events.model.event import AnyEvent, PhaseChange, Report, Scalar
from otel_events.model.times import LAST, SECOND
from otel_events.sources.flyte.base import CACHE_LIMIT, TASK_PHASES, VALUE_LIMIT, cut, nanoseconds
from otel_events.sources.flyte.task import Attempt, log_reports, names, put_names

_PHASE, _PRODUCER, _LOGS, _TIME, _INPUT, _OUTPUT, _VERSION, _REASON, _TYPE = b"\x20\x2a\x32\x3a\x42\x4a\x60\x6a\x72"
_METADATA, _EVENT_VERSION, _REPORTED = 0x82, 0x90, b"\xa2\x01"
"""Field number and wire type, as they stand before each field; those in the second line go on with a byte 1."""
_LONGEST_MIDDLE = 256
"""Bytes of a middle that is remembered: longer reasons are of one run only."""
_FIRST = 0x0A
"""Field 1: the name in metadata, the address in a log."""
_PROBE = b"\x0a\x01?"
"""Field 1 with the text "?": put before the other fields of a message, it shows whether those hold a field 1 again."""
_RARE = "rare"
"""In place of a value: the message holds more than the usual fields, so the general decoder has to read it."""

_parse_time = timestamp_pb2.Timestamp.FromString
_parse_metadata = event_pb2.TaskExecutionMetadata.FromString
_parse_log = execution_pb2.TaskLog.FromString
_parse_logs = event_pb2.TaskExecutionEvent.FromString


Constant = tuple[bytes, bytes, bytes, int, dict[str, Scalar]]
"""What the events of an attempt have in common: producer_id as it stands in the record, so too input_uri and the bytes
from task_type on; where the field behind producer_id begins; the attributes, which all events that add none share
(nothing changes the attributes of an event)."""

_Middle = tuple[str, str, str, str, dict[str, Scalar]]
"""What a phase and the bytes from output_uri to reason say: Flyte's word, our phase, the middle of the event's id
(``:native:phase_version:``), the reason, attributes."""

_MIDDLES: dict[tuple[int, bytes], _Middle] = {}
"""(number of the phase, bytes of the middle) -> what they say."""
_PRODUCERS: dict[bytes, str] = {}
"""Field 5 as it stands in the record -> the producer."""
_PLUGINS: dict[bytes, dict[str, Scalar]] = {}
"""Content of metadata behind its name -> attributes."""
_LOG_KINDS: dict[bytes, tuple[str, str, dict[str, Scalar]]] = {}
"""Content of a TaskLog behind its address -> name, media type and attributes of the report."""


def cut_events(attempt: Attempt, rest: bytes) -> list[AnyEvent] | None:
    """The events of a record, made without parsing all of it.

    Args:
        attempt: The attempt that the record names. Its ``constant`` is set from the first event in the usual layout.
        rest: What follows the identity (fields 1 to 3) in the record.

    Returns:
        The events; None where the fields stand in another order, or are not the usual ones.

    Raises:
        IndexError, KeyError, UnicodeDecodeError, google.protobuf.message.DecodeError: The record is broken.
    """
    constant: Constant | None = attempt.constant
    if constant is not None:
        events = _match(attempt, constant, rest)
        if events is not None:
            return events
    constant = _constant(attempt, rest)
    if constant is None:
        return None
    attempt.constant = constant
    return _match(attempt, constant, rest)


def _match(attempt: Attempt, constant: Constant, rest: bytes) -> list[AnyEvent] | None:
    """The events, if the constant bytes stand at their places. One function: a call here costs a tenth of the time."""
    before, between, end, at, attributes = constant
    if rest[0] != _PHASE or not rest.startswith(before, 2):
        return None
    logs_at = at
    while rest[at] == _LOGS:
        at = _after(rest, at)
    time_at = at
    size = rest[at + 1]
    at += 2 + size
    stop = len(rest) - len(end)
    reported = 0
    if not rest.endswith(end):
        stop, reported = _reported(rest, end)
    middle_at = at + len(between)
    if rest[time_at] != _TIME or size > 127 or stop < middle_at or not rest.startswith(between, at):
        return None
    raw = rest[middle_at:stop]
    middle = _MIDDLES.get((rest[1], raw)) or _middle(rest[1], raw)
    if middle is None:
        return None
    native, phase, key, reason, more = middle
    stamp = _parse_time(rest[time_at + 2 : at])
    nanos = stamp.nanos
    time = stamp.seconds * SECOND + nanos
    if not (0 <= nanos < SECOND and 0 < time <= LAST):
        return None
    if more or reported:
        attributes = attributes | more
        if reported:
            attributes["flyte.reported_at"] = reported
    change = PhaseChange(
        id=attempt.key + key + str(time),
        time=time,
        run=attempt.run,
        attributes=attributes,
        phase=phase,
        native=native,
        reason=reason,
    )
    return [change] if time_at == logs_at else [change, *_log_reports(change, rest[logs_at:time_at])]


def _reported(rest: bytes, end: bytes) -> tuple[int, int]:
    """Where reported_at begins, the last field of ``rest`` and behind ``end``, and its value; (-1, 0) without one."""
    at = rest.rfind(_REPORTED)
    if at < 0 or at + 3 + rest[at + 2] != len(rest) or not rest.endswith(end, 0, at):
        return -1, 0
    return at - len(end), nanoseconds(_parse_time(rest[at + 3 :]))


def _middle(number: int, raw: bytes) -> _Middle | None:
    """What output_uri, phase_version and reason say, in this order, any of them missing; None if ``raw`` is not that.
    KeyError for a number that is no phase."""
    text = raw + b"\0\0"
    at = _over(text, 0, _OUTPUT)
    if at:
        middle = _MIDDLES.get((number, raw[at:])) or _middle(number, raw[at:])
        if middle is None or text[at] == _OUTPUT:
            return None
        output_uri = _text(text, 0, at)
        native, phase, key, reason, attributes = middle
        if output_uri:
            attributes = attributes | {"flyte.output_uri": cut(output_uri)}
        return native, phase, key, reason, attributes
    version = text[1] if text[0] == _VERSION else 0
    at = 2 if text[0] == _VERSION else 0
    end = _over(text, at, _REASON)
    if end != len(raw) or version > 127:
        return None
    native, phase = TASK_PHASES[number]
    version_attribute: dict[str, Scalar] = {"flyte.phase_version": version} if version else {}
    middle = (native, phase, f":{native}:{version}:", _text(text, at, end), version_attribute)
    return remember(_MIDDLES, (number, raw), middle, CACHE_LIMIT) if end <= _LONGEST_MIDDLE else middle


def _constant(attempt: Attempt, rest: bytes) -> Constant | None:
    """What stays the same in the next events of the attempt; None where ``rest`` has not the usual layout, or where
    its metadata holds more than names."""
    cuts = _cuts(rest)
    if cuts is None:
        return None
    time_at, input_at, middle_at, type_at, metadata_at, version_at, end = cuts
    name, more = _metadata(rest, metadata_at + 1, version_at) if metadata_at < version_at else ("", {})
    if _RARE in more:
        return None
    before, attributes = rest[2:time_at], names(attempt)
    values: tuple[tuple[str, Scalar], ...] = (  # in the order of the general decoder: equal events are equal bytes
        ("flyte.producer", _PRODUCERS.get(before) or _producer(before)),
        ("flyte.input_uri", _text(rest, input_at, middle_at)),
        ("flyte.task.type", _text(rest, type_at, metadata_at)),
        ("flyte.event_version", rest[end - 1] if end > version_at else 0),
        ("flyte.generated_name", name),
    )
    attributes.update((attribute, value) for attribute, value in values if value)
    attributes.update(more)
    return before, rest[input_at:middle_at], rest[type_at:end], time_at, attributes


def _cuts(rest: bytes) -> tuple[int, int, int, int, int, int, int] | None:
    """Where, in the usual layout, the field behind producer_id, input_uri, the middle, task_type, metadata and
    event_version begin, or would, and where that ends; None for any other layout."""
    text = rest + b"\0\0"
    if text[0] != _PHASE or len(rest) > VALUE_LIMIT:  # no text in it is then long enough to be cut
        return None
    time_at = at = _after(text, 2) if text[2] == _PRODUCER else 2
    while text[at] == _LOGS:
        at = _after(text, at)
    input_at = at = _after(text, at) if text[at] == _TIME else at
    middle_at = at = _after(text, at) if text[at] == _INPUT else at
    if text[at] == _OUTPUT:
        at = _after(text, at)
    if text[at] == _VERSION:
        at += 2
    type_at = at = _after(text, at) if text[at] == _REASON else at
    metadata_at = at = _after(text, at) if text[at] == _TYPE else at
    version_at = at = _after(text, at + 1) if text[at] == _METADATA and text[at + 1] == 1 else at
    end = at + 3 if text[at] == _EVENT_VERSION and text[at + 1] == 1 and text[at + 2] < 128 else at
    if end != len(rest) and (not text.startswith(_REPORTED, end) or _after(text, end + 1) != len(rest)):
        return None
    return time_at, input_at, middle_at, type_at, metadata_at, version_at, end


def _producer(raw: bytes) -> str:
    return remember(_PRODUCERS, raw, _text(raw, 0, len(raw)), CACHE_LIMIT)


def _metadata(rest: bytes, at: int, end: int) -> tuple[str, dict[str, Scalar]]:
    """generated_name, and the attributes of what follows it, of the metadata that stands in ``rest[at:end]``."""
    at += 2 if rest[at + 1] < 128 else 3
    name_end = _after(rest, at) if at < end and rest[at] == _FIRST else at
    tail = rest[name_end:end]
    if name_end > end:
        raise KeyError("metadata that is cut")
    plugin = _PLUGINS.get(tail)
    return _text(rest, at, name_end), _plugin(tail) if plugin is None else plugin


def _plugin(tail: bytes) -> dict[str, Scalar]:
    """Attributes of metadata without its first field; with _RARE in it if it holds more than plugin and instance
    class."""
    metadata = _parse_metadata(_PROBE + tail)
    attributes: dict[str, Scalar] = {}
    if metadata.generated_name != "?" or _parse_metadata(tail).generated_name:
        attributes[_RARE] = True
    if metadata.external_resources or metadata.resource_pool_info:
        attributes[_RARE] = True
    metadata.generated_name = ""
    put_names(attributes, metadata)
    return remember(_PLUGINS, tail, attributes, CACHE_LIMIT)


def _log_reports(change: PhaseChange, raw: bytes) -> list[Report]:
    """A report of each of the TaskLog messages that stand one after the other in ``raw``."""
    reports: list[Report] = []
    at = 0
    while at < len(raw):
        end = _after(raw, at)
        log = _content(raw, at, end)
        uri_end = _over(log + b"\0\0", 0, _FIRST)
        tail = log[uri_end:]
        name, media_type, attributes = _LOG_KINDS.get(tail) or _log_kind(change, tail)
        if media_type == _RARE:
            return log_reports(change, _parse_logs(raw).logs)
        report = Report(
            id=f"{change.id}:log:{len(reports)}",
            time=change.time,
            run=change.run,
            attributes=attributes,
            name=name,
            media_type=media_type,
            uri=_text(log, 0, uri_end),
        )
        reports.append(report)
        at = end
    return reports


def _log_kind(change: PhaseChange, tail: bytes) -> tuple[str, str, dict[str, Scalar]]:
    """Name, media type and attributes that stand in a TaskLog behind its address; the media type is _RARE where the
    address stands there again."""
    log = _parse_log(_PROBE + tail)
    repeated = log.uri != "?" or _parse_log(tail).uri
    report = log_reports(change, (log,))[0]
    kind = (report.name, _RARE if repeated else report.media_type, report.attributes)
    return remember(_LOG_KINDS, tail, kind, CACHE_LIMIT)


def _over(text: bytes, at: int, tag: int) -> int:
    """Where the field at ``at`` ends, if it begins with ``tag``; else ``at``."""
    if text[at] != tag:
        return at
    size = text[at + 1]
    return at + 2 + size if size < 128 else _after(text, at)


def _after(text: bytes, at: int) -> int:
    """Where the field at ``at`` (the last byte of its tag) ends: a length of one or two bytes, and as many more."""
    size = text[at + 1]
    if size < 128:
        return at + 2 + size
    if text[at + 2] > 127:
        raise KeyError("longer than any usual field")
    return at + 3 + size - 128 + (text[at + 2] << 7)


def _content(text: bytes, at: int, end: int) -> bytes:
    """The content of the field that stands in ``text[at:end]`` (``at``: the last byte of its tag)."""
    return text[at + (2 if text[at + 1] < 128 else 3) : end]


def _text(text: bytes, at: int, end: int) -> str:
    """The content of a text field; "" where there is none."""
    return text[at + (2 if text[at + 1] < 128 else 3) : end].decode() if end > at else ""
