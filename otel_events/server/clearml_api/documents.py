"""What tasks, projects, models and queues have in common: documents of the store that are made, found, changed and
shown in part. Times are those of the server, as ISO 8601 with an offset.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from otel_events.server.clearml_api.base import ApiError, Call, Field, Service, failed_validation

Document = dict[str, Any]

MAX_PATTERN = 1_000
"""Characters of a regular expression in a question."""
IDS = Field("id", None)
ONLY_FIELDS = Field("only_fields", list)
QUERY = (
    *(IDS, ONLY_FIELDS, Field("page", int, low=0), Field("page_size", int, low=1), Field("order_by", None)),
    *(Field("name"), Field("tags", list), Field("system_tags", list), Field("search_hidden", bool, default=False)),
)
"""What every get_all takes. Fields that a document has are taken as filters too."""

_ONE_OF = ("id", "user", "project", "type", "status", "parent", "task", "framework", "company")
_TIMES = ("created", "started", "completed", "status_changed", "last_update", "last_change", "published")
_COMPARISONS: dict[str, Callable[[str, str], bool]] = {
    ">=": lambda have, want: have >= want,
    "<=": lambda have, want: have <= want,
    ">": lambda have, want: have > want,
    "<": lambda have, want: have < want,
}
_ALL = ("__$all", "__$and")


def new_id() -> str:
    return uuid.uuid4().hex


def iso(now_ms: int) -> str:
    return datetime.fromtimestamp(now_ms / 1000, UTC).isoformat(timespec="microseconds")


def touched(call: Call) -> Document:
    """Fields that every change sets."""
    now = iso(call.now_ms)
    return {"last_update": now, "last_change": now, "last_changed_by": call.user}


def made(call: Call, name: str) -> Document:
    """The beginning of every document."""
    now = iso(call.now_ms)
    first = {"id": new_id(), "company": call.company, "user": call.user, "name": name, "created": now}
    return {**first, "tags": [], "system_tags": [], **touched(call)}


def given(call: Call, names: Iterable[str]) -> Document:
    """Those of the fields that the call has."""
    return {name: call.data[name] for name in names if call.data.get(name) is not None}


def change(
    service: Service, kind: str, key: str, update: Callable[[Document], Document], unknown: Callable[[], ApiError]
) -> Document:
    """Read, update, write one document as one step; ``unknown`` where there is none."""
    found = service.store.change(kind, key, update)
    if found is None:
        raise unknown()
    return found


def merged(document: Document, fields: Mapping[str, Any], nested: Sequence[str] = ()) -> Document:
    """``document`` with ``fields`` put in; of those in ``nested`` only the members that are given are replaced."""
    found = dict(document)
    for name, value in fields.items():
        have = found.get(name)
        if name in nested and isinstance(have, dict) and isinstance(value, dict):
            value = {**have, **value}
        found[name] = value
    return found


# --- questions -------------------------------------------------------------------------------------------------------


def found(service: Service, call: Call, kind: str) -> list[Document]:
    """The documents that the call asks for, as they are kept, all pages."""
    asked = call.data.get("id")
    ids = None if asked is None else texts("id", asked)
    tests = _tests(call.data)
    documents = service.store.find(kind, ids=ids)
    return [one for one in documents if all(test(one) for test in tests)]


def texts(name: str, value: Any) -> list[str]:
    """A text, or those in a list. ApiError 400/12 for anything else."""
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list):
        raise failed_validation(f"error for field '{name}': ('value is wrong, expected type \"list\"', {value!r}).")
    return [one for one in value if isinstance(one, str)]


def page(call: Call, documents: list[Document]) -> list[Document]:
    """The documents of the page that was asked for, in the order that was asked for."""
    ordered = documents
    for name in reversed(texts("order_by", call.data.get("order_by") or [])):
        ordered = _sorted(ordered, name)
    size = call.data.get("page_size")
    if size is None:
        return ordered
    first = call.data.get("page", 0) * size
    return ordered[first : first + size]


def _sorted(documents: list[Document], name: str) -> list[Document]:
    field = name.removeprefix("-").removeprefix("@")

    def key(document: Document) -> tuple[bool, str, float]:
        value = member(document, field)
        number = float(value) if isinstance(value, int | float) else 0.0
        return value is not None, "" if isinstance(value, int | float) else str(value), number

    return sorted(documents, key=key, reverse=name.startswith("-"))


def shown(call: Call, document: Document) -> Document:
    """The document, or of it what ``only_fields`` names; the id always."""
    names = call.data.get("only_fields")
    if not names:
        return document
    part: Document = {"id": document["id"]}
    for name in names:
        *above, last = str(name).split(".")
        holder = member(document, ".".join(above)) if above else document
        if not isinstance(holder, dict) or last not in holder:
            continue
        inner = part
        for step in above:
            inner = inner.setdefault(step, {})
        inner[last] = holder[last]
    return part


def wants(call: Call, *fields: str) -> bool:
    """Whether any of these top-level fields is asked for."""
    names = call.data.get("only_fields")
    return not names or any(str(name).partition(".")[0] in fields for name in names)


def member(document: Mapping[str, Any], path: str) -> Any:
    """The value at a dotted path, None where there is none."""
    value: Any = document
    for step in path.split("."):
        value = value.get(step) if isinstance(value, dict) else None
    return value


Test = Callable[[Document], bool]


def _tests(data: Mapping[str, Any]) -> list[Test]:
    tests: list[Test] = []
    for name in _ONE_OF[1:]:
        if (asked := data.get(name)) is not None:
            tests.append(_one_of(name, asked if isinstance(asked, list) else [asked]))
    for name in _TIMES:
        if (asked := data.get(name)) is not None:
            tests += _compared(name, asked if isinstance(asked, list) else [asked])
    for name in ("tags", "system_tags"):
        if asked := data.get(name):
            tests.append(_tagged(name, texts(name, asked)))
    if (asked := data.get("name")) is not None:
        tests.append(_like(["name"], asked, all_of=True))
    for name, all_of in (("_all_", True), ("_any_", False)):
        if isinstance(asked := data.get(name), dict):
            tests.append(_like(texts("fields", asked.get("fields") or []), asked.get("pattern", ""), all_of))
    return tests


def _one_of(name: str, values: list[Any]) -> Test:
    wanted = [one for one in values if one != "__$not"]
    return lambda document: document.get(name) in wanted


def _compared(name: str, values: list[Any]) -> Iterable[Test]:
    for value in values:
        sign = next((one for one in _COMPARISONS if isinstance(value, str) and value.startswith(one)), None)
        if sign:
            yield _against(name, _COMPARISONS[sign], _moment(name, value.removeprefix(sign)))


def _against(name: str, compare: Callable[[str, str], bool], moment: str) -> Test:
    return lambda document: bool(document.get(name)) and compare(str(document[name]), moment)


def _moment(name: str, text: str) -> str:
    try:
        told = datetime.fromisoformat(text)
    except ValueError:
        raise failed_validation(f"error for field '{name}'. '{text[:100]}' is no ISO 8601 time") from None
    return (told if told.tzinfo else told.replace(tzinfo=UTC)).astimezone(UTC).isoformat(timespec="microseconds")


def _tagged(name: str, asked: list[str]) -> Test:
    """``-tag``: without it; after ``__$all`` all are asked for, else one of them is enough."""
    without = {one[1:] for one in asked if one.startswith("-")}
    wanted = [one for one in asked if not one.startswith(("-", "__$"))]
    enough = all if any(one in asked for one in _ALL) else any

    def test(document: Document) -> bool:
        have = document.get(name) or ()
        return without.isdisjoint(have) and (not wanted or enough(one in have for one in wanted))

    return test


def _like(fields: list[str], pattern: object, all_of: bool) -> Test:
    """A regular expression that is found, letters in either case, in all or one of the fields."""
    if not isinstance(pattern, str) or len(pattern) > MAX_PATTERN:
        raise failed_validation(f"error for field 'name'. a pattern has at most {MAX_PATTERN} characters")
    try:
        search = re.compile(pattern, re.IGNORECASE).search
    except (re.error, OverflowError, RecursionError) as error:
        raise failed_validation(
            f"error for field 'name'. {pattern[:100]!r} is no regular expression: {error}"
        ) from None
    enough = all if all_of else any
    return lambda document: enough(search(str(member(document, name) or "")) is not None for name in fields)
