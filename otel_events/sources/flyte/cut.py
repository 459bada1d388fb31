"""A task event cut up along what is known of its attempt: no parsing of what the last event told just the same.

Writers put the fields of a message in the order of their numbers (protobuf's Go, C++ and Python libraries all do). So
what follows the identity (fields 1 to 3) in the record of a usual event is

    phase 4 | producer_id 5 | logs 6 ... | occurred_at 7 | input_uri 8 | output_uri 9, phase_version 12, reason 13
    | task_type 14, metadata 16, event_version 18 | reported_at 20

where producer_id, input_uri and the line from task_type on are the same bytes in each event of an attempt, and the
line from output_uri on comes again in each run. The first event of an attempt is cut by its tags, which gives the
constant bytes and the attributes made of them; in the next ones these bytes are found at their places by comparison.
Cuts are only ever made at the ends of fields, so what is found so is what a parser finds. None for any other layout.
"""

from __future__ import annotations

from typing import TypeVar

from flyteidl.core import execution_pb2
from flyteidl.event import event_pb2
from google.protobuf import timestamp_pb2

from otel_events.core.redact import Screened, has_clue, suspicious
from otel_events.model.event import AnyEvent, PhaseChange, Report, Scalar
from otel_events.sources.flyte.base import CACHE_LIMIT, LAST_TIME, TASK_PHASES, VALUE_LIMIT, cut, nanoseconds
from otel_events.sources.flyte.task import Attempt, log_reports, names, put_names

_PHASE, _PRODUCER, _LOGS, _TIME, _INPUT, _OUTPUT, _VERSION, _REASON, _TYPE = b"\x20\x2a\x32\x3a\x42\x4a\x60\x6a\x72"
_METADATA, _EVENT_VERSION, _REPORTED = 0x82, 0x90, b"\xa2\x01"
"""Field number and wire type, as they stand before each field; those in the second line go on with a byte 1."""
_LONGEST_KEPT = 256
"""Bytes of a middle that is kept: reasons longer than that tell of one run only."""
_FIRST = 0x0A
"""Field 1: the name in metadata, the address in a log."""
_PROBE = b"\x0a\x01?"
_RARE = "rare"

_parse_time = timestamp_pb2.Timestamp.FromString
_parse_metadata = event_pb2.TaskExecutionMetadata.FromString
_parse_log = execution_pb2.TaskLog.FromString
_parse_logs = event_pb2.TaskExecutionEvent.FromString

K = TypeVar("K")
V = TypeVar("V")


Constant = tuple[bytes, bytes, bytes, int, dict[str, Scalar], bool]
"""What the events of an attempt have in common: producer_id as it stands in the record, so too input_uri and the bytes
from task_type on; where the field behind producer_id begins; the attributes, shared by all events that tell nothing
more (nobody changes an event's attributes); whether nothing in all this, the identity included, may be a secret."""

_Middle = tuple[str, str, str, str, dict[str, Scalar], bool]
"""What a phase and the bytes from output_uri to reason say: Flyte's word, our phase, the middle of the event's id
(``:native:phase_version:``), the reason, attributes, and whether nothing in it may be a secret."""

_MIDDLES: dict[tuple[int, bytes], _Middle] = {}
_PRODUCERS: dict[bytes, tuple[str, bool]] = {}
_PLUGINS: dict[bytes, tuple[dict[str, Scalar], bool]] = {}
_LOG_KINDS: dict[bytes, tuple[str, str, dict[str, Scalar], bool]] = {}
"""What comes again in each run: of phases and reasons, producers, metadata but the name, task logs but the address."""


_NOTHING: tuple[dict[str, Scalar], bool] = ({}, True)


def _keep(table: dict[K, V], key: K, value: V) -> V:
    if len(table) >= CACHE_LIMIT:
        table.clear()
    table[key] = value
    return value


def cut_events(attempt: Attempt, rest: bytes) -> list[AnyEvent] | None:
    """Events of the record in which ``rest`` follows the identity of ``attempt``; None where its fields stand in
    another order, or are not the usual ones. Raises IndexError, UnicodeDecodeError, DecodeError (protobuf's) or
    KeyError where the record is broken.
    """
    known: Constant | None = attempt.known
    if known is not None:
        found = _match(attempt, known, rest)
        if found is not None:
            return found
    known = _constant(attempt, rest)
    if known is None:
        return None
    attempt.known = known
    return _match(attempt, known, rest)


def _match(attempt: Attempt, known: Constant, rest: bytes) -> list[AnyEvent] | None:
    before, between, end, at, attributes, clean = known
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
    middle = rest[middle_at:stop]
    told = _MIDDLES.get((rest[1], middle)) or _middle(rest[1], middle)
    if told is None:
        return None
    native, phase, key, reason, more, harmless = told
    stamp = _parse_time(rest[time_at + 2 : at])
    nanos = stamp.nanos
    time = stamp.seconds * 1_000_000_000 + nanos
    if not (0 <= nanos < 1_000_000_000 and 0 < time <= LAST_TIME):
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
    if time_at != logs_at:
        return _with_logs(change, rest[logs_at:time_at], clean and harmless)
    return Screened((change,)) if clean and harmless else [change]


def _reported(rest: bytes, end: bytes) -> tuple[int, int]:
    """Where reported_at begins, the last field of ``rest`` and behind ``end``, and what it says; (-1, 0): it is not
    there.
    """
    at = rest.rfind(_REPORTED)
    if at < 0 or at + 3 + rest[at + 2] != len(rest) or not rest.endswith(end, 0, at):
        return -1, 0
    return at - len(end), nanoseconds(_parse_time(rest[at + 3 :]))


def _middle(number: int, raw: bytes) -> _Middle | None:
    """What output_uri, phase_version and reason say, in this order, any of them missing; None if ``raw`` is not that.
    KeyError for a phase that is none."""
    text = raw + b"\0\0"
    at = _over(text, 0, _OUTPUT)
    if at:
        told = _MIDDLES.get((number, raw[at:])) or _middle(number, raw[at:])
        if told is None or text[at] == _OUTPUT:
            return None
        output_uri = _text(text, 0, at)
        native, phase, key, reason, attributes, harmless = told
        if output_uri:
            attributes = attributes | {"flyte.output_uri": cut(output_uri)}
        return native, phase, key, reason, attributes, harmless and not has_clue(output_uri)
    version = text[1] if text[0] == _VERSION else 0
    at = 2 if text[0] == _VERSION else 0
    end = _over(text, at, _REASON)
    if end != len(raw) or version > 127:
        return None
    native, phase = TASK_PHASES[number]
    reason = _text(text, at, end)
    kind: dict[str, Scalar] = {"flyte.phase_version": version} if version else {}
    made = (native, phase, f":{native}:{version}:", reason, kind, not has_clue(reason))
    return _keep(_MIDDLES, (number, raw), made) if end <= _LONGEST_KEPT else made


def _constant(attempt: Attempt, rest: bytes) -> Constant | None:
    """What stays the same in the next events of the attempt; None where ``rest`` has not the usual layout, or where
    what does not change tells of more than names."""
    cuts = _cuts(rest)
    if cuts is None:
        return None
    time_at, input_at, middle_at, type_at, metadata_at, version_at, end = cuts
    before, attributes = rest[2:time_at], names(attempt)
    producer, clean = _PRODUCERS.get(before) or _producer(before)
    input_uri = _text(rest, input_at, middle_at)
    task_type = _text(rest, type_at, metadata_at)
    name, (more, harmless) = "", _NOTHING
    if metadata_at < version_at:
        name, (more, harmless) = _metadata(rest, metadata_at + 1, version_at)
    if producer:
        attributes["flyte.producer"] = producer
    if input_uri:
        attributes["flyte.input_uri"] = input_uri
    if task_type:
        attributes["flyte.task.type"] = task_type
    if end > version_at and rest[end - 1]:
        attributes["flyte.event_version"] = rest[end - 1]
    if name:
        attributes["flyte.generated_name"] = name
    attributes.update(more)
    if _RARE in more:
        return None
    clean = clean and harmless and attempt.clean and not has_clue(f"{input_uri}\0{task_type}\0{name}")
    return before, rest[input_at:middle_at], rest[type_at:end], time_at, attributes, clean


def _cuts(rest: bytes) -> tuple[int, int, int, int, int, int, int] | None:
    """Where, in the usual layout, the field behind producer_id, input_uri, the middle, task_type, metadata and
    event_version begin, or would, and where that ends; None for any other layout."""
    text = rest + b"\0\0"
    if text[0] != _PHASE or len(rest) > VALUE_LIMIT:
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


def _producer(raw: bytes) -> tuple[str, bool]:
    producer = _text(raw, 0, len(raw))
    return _keep(_PRODUCERS, raw, (producer, not has_clue(producer)))


def _metadata(rest: bytes, at: int, end: int) -> tuple[str, tuple[dict[str, Scalar], bool]]:
    """generated_name, and the attributes of what follows it, of the metadata that stands in ``rest[at:end]``."""
    at += 2 if rest[at + 1] < 128 else 3
    name_end = _after(rest, at) if at < end and rest[at] == _FIRST else at
    tail = rest[name_end:end]
    if name_end > end:
        raise KeyError("metadata that is cut")
    return _text(rest, at, name_end), _PLUGINS.get(tail) or _plugin(tail)


def _plugin(tail: bytes) -> tuple[dict[str, Scalar], bool]:
    """Metadata but its first field, and whether nothing in it may be a secret; {_RARE} if it tells of more than plugin
    and instance class."""
    metadata = _parse_metadata(_PROBE + tail)
    attributes: dict[str, Scalar] = {}
    if metadata.generated_name != "?" or _parse_metadata(tail).generated_name:
        attributes[_RARE] = True
    if metadata.external_resources or metadata.resource_pool_info:
        attributes[_RARE] = True
    metadata.generated_name = ""
    put_names(attributes, metadata)
    return _keep(_PLUGINS, tail, (attributes, not suspicious(tail)))


def _with_logs(change: PhaseChange, raw: bytes, clean: bool) -> list[AnyEvent]:
    """The change and a report of each of the TaskLog messages that stand one after the other in ``raw``."""
    events: list[AnyEvent] = [change]
    at = 0
    while at < len(raw):
        end = _after(raw, at)
        log = _content(raw, at, end)
        uri_end = _over(log + b"\0\0", 0, _FIRST)
        tail = log[uri_end:]
        name, media_type, attributes, harmless = _LOG_KINDS.get(tail) or _log_kind(change, tail)
        if media_type == _RARE:
            return [change, *log_reports(change, _parse_logs(raw).logs)]
        uri = _text(log, 0, uri_end)
        clean = clean and harmless and not has_clue(uri)
        report = Report(
            id=f"{change.id}:log:{len(events) - 1}",
            time=change.time,
            run=change.run,
            attributes=attributes,
            name=name,
            media_type=media_type,
            uri=uri,
        )
        events.append(report)
        at = end
    return Screened(events) if clean else events


def _log_kind(change: PhaseChange, tail: bytes) -> tuple[str, str, dict[str, Scalar], bool]:
    """Name, media type and attributes that a TaskLog tells behind its address, and whether nothing in it may be a
    secret; the media type is _RARE where it tells of the address again."""
    log = _parse_log(_PROBE + tail)
    again = log.uri != "?" or _parse_log(tail).uri
    made = log_reports(change, (log,))[0]
    kind = (made.name, _RARE if again else made.media_type, made.attributes, not suspicious(tail))
    return _keep(_LOG_KINDS, tail, kind)


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
    """The same of a text field; "" where there is none."""
    return text[at + (2 if text[at + 1] < 128 else 3) : end].decode() if end > at else ""
