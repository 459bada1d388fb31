"""Filters of ``get_all``: its fields become tests of a document.

    {"system_tags": ["__$all", "dataset", "__$not", "archived"], "name": "^net$", "last_update": [">=2026-01-01"]}

Rules of the recorded server (API 2.34). Lists: a value is wanted; ``__$not`` or a leading ``-`` refuses the next one.
After ``__$all`` (``__$and``) all are wanted; after ``__$any`` (``__$or``), and from the beginning, one of them;
``__$nop`` is the beginning again; null: none or nothing there. The first operator also joins the parts. Names are
regular expressions that tell small letters from capitals, those of ``_any_`` and ``_all_`` do not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from otel_events.clearml_server.api.base import ApiError, failed_validation

Document = dict[str, Any]
Test = Callable[[Document], bool]

MAX_PATTERN = 1_000
"""Characters of a regular expression in a question."""
MAX_REPEATS = 2
"""In a regular expression: repeats, options, and groups with either or a choice in them."""
MAX_SEARCHED = 256
"""Characters of a text that are searched."""

LISTS = (
    *("user", "project", "type", "status", "parent", "task", "framework", "company", "uri", "path"),
    *("tags", "system_tags", "execution.queue", "models.input.model"),
)
LISTS_BELOW = ("hyperparams.", "metadata.")
"""Beginnings of dotted fields that are filters too."""
TIMES = ("created", "started", "completed", "status_changed", "last_update", "last_change", "published")
NAMES = ("name", "basename", "comment", "description")

_JOINS: dict[str, Callable[[Iterable[bool]], bool]] = {"__$all": all, "__$and": all, "__$any": any, "__$or": any}
_COMPARISONS: dict[str, Callable[[str, str], bool]] = {
    ">=": lambda have, want: have >= want,
    "<=": lambda have, want: have <= want,
    ">": lambda have, want: have > want,
    "<": lambda have, want: have < want,
}


def conditions(data: Mapping[str, Any]) -> list[Test]:
    """The tests that a document must pass.

    Args:
        data: The fields of the call.

    Raises:
        ApiError: 400/12 or 400/16, a filter is malformed.
    """
    tests = [_listed(name, sent) for name, sent in data.items() if sent is not None and _is_list_field(name)]
    for name in TIMES:
        if (sent := data.get(name)) is not None:
            tests += _compared(name, sent if isinstance(sent, list) else [sent])
    tests += [_like([name], sent, all, 0) for name in NAMES if (sent := data.get(name)) not in (None, "")]
    for name, join in (("_all_", all), ("_and_", all), ("_any_", any), ("_or_", any)):
        if isinstance(sent := data.get(name), dict) and (fields := texts("fields", sent.get("fields") or [])):
            tests.append(_like(fields, sent.get("pattern", ""), join, re.IGNORECASE))
    return tests


def texts(name: str, value: Any) -> list[str]:
    """The texts of a field that holds one text or a list of them. ApiError 400/12 for anything else."""
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list):
        raise failed_validation(f"error for field '{name}': ('value is wrong, expected type \"list\"', {value!r}).")
    return [text for text in value if isinstance(text, str)]


def members(value: Any, path: str) -> Iterator[Any]:
    """The values at a dotted path: of a list on the way those of each item, and of a list at its end the items."""
    step, _, rest = path.partition(".")
    for holder in value if isinstance(value, list) else [value]:
        value_there = holder.get(step) if isinstance(holder, dict) else None
        if rest:
            yield from members(value_there, rest)
        elif isinstance(value_there, list):
            yield from value_there
        elif value_there is not None:
            yield value_there


# --- lists -----------------------------------------------------------------------------------------------------------


def _is_list_field(name: str) -> bool:
    return name in LISTS or name.startswith(LISTS_BELOW)


def _listed(field: str, sent: Any) -> Test:
    parts: dict[tuple[Any, bool], set[str]] = {}
    joins: list[Callable[[Iterable[bool]], bool]] = []
    empty = False
    for join, wanted, value in _terms(field, sent if isinstance(sent, list) else [sent]):
        if value is None and join is None:
            empty = True
        elif value is None:
            joins.append(join)
        else:
            parts.setdefault((join, wanted), set()).add(value)
    whole = joins[0] if joins else all

    def test(document: Document) -> bool:
        have = set(map(str, members(document, field)))
        if empty and not have:
            return True
        results = [join(value in have for value in values) if wanted else have.isdisjoint(values)
                for (join, wanted), values in parts.items()]  # fmt: skip
        return whole(results) if results else not empty

    return test


def _terms(field: str, sent: list[Any]) -> Iterator[tuple[Any, bool, str | None]]:
    """(how the values of its part are joined, whether it is wanted, the value); an operator has no value, and a null
    has neither a join nor a value."""
    join: Callable[[Iterable[bool]], bool] = any
    dashes, refused = True, False
    for value in sent:
        if value is not None and not isinstance(value, str):
            raise ApiError(400, 16, f"Invalid value for fields (string expected): field={field}, value={value!r:.100}")
        if value is None or value == "__$nop":
            join, dashes = (join, dashes) if value is None else (any, True)
            refused = False
            if value is None:
                yield None, True, None
        elif value.startswith("__$"):
            if refused or (value != "__$not" and value not in _JOINS):
                raise ApiError(400, 16, f"Invalid value for fields (operator): field={field}, operator={value[:100]}")
            refused = value == "__$not"
            if not refused:
                join, dashes = _JOINS[value], False
                yield join, True, None
        else:
            left_out = dashes and not refused and value.startswith("-")
            yield join, not (refused or left_out), value[1:] if left_out else value
            refused = False
    if refused:
        raise ApiError(400, 16, f"Invalid value for fields (a value is expected after __$not): field={field}")


# --- times -----------------------------------------------------------------------------------------------------------


def _compared(name: str, values: list[Any]) -> Iterator[Test]:
    """Each a comparison (``>=2026-01-01``) or a time; of two times the first is the least, the second the greatest."""
    signs = [next((sign for sign in _COMPARISONS if isinstance(value, str) and value.startswith(sign)), "")
             for value in values]  # fmt: skip
    if len(values) == 2 and not any(signs):
        signs = [">=", "<="]
    for value, sign in zip(values, signs, strict=True):
        if isinstance(value, str):
            compare = _COMPARISONS.get(sign, lambda have, want: have == want)
            yield _against(name, compare, _moment(name, value.removeprefix(sign)))


def _against(name: str, compare: Callable[[str, str], bool], moment: str) -> Test:
    return lambda document: bool(document.get(name)) and compare(str(document[name]), moment)


def _moment(name: str, text: str) -> str:
    try:
        moment = datetime.fromisoformat(text.strip())
        return (
            (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC).isoformat(timespec="microseconds")
        )
    except (ValueError, OverflowError):
        raise failed_validation(f"error for field '{name}'. '{text[:100]}' is no ISO 8601 time") from None


# --- names -----------------------------------------------------------------------------------------------------------


def _like(fields: list[str], pattern: object, join: Callable[[Iterable[bool]], bool], flags: int) -> Test:
    """A regular expression that is found in all or one of the fields."""
    if not isinstance(pattern, str) or len(pattern) > MAX_PATTERN:
        raise failed_validation(f"error for field '{fields[0]}'. a pattern has at most {MAX_PATTERN} characters")
    if (exact := _EXACT.fullmatch(pattern)) and not flags:
        text = _ESCAPED.sub(r"\1", exact[1])
        return lambda document: join(any(str(value) == text for value in members(document, name)) for name in fields)
    if not _is_quick(pattern):
        raise failed_validation(f"error for field '{fields[0]}'. {pattern[:100]!r} could take for ever: fewer repeats")
    try:
        search = re.compile(pattern, flags).search
    except (re.error, OverflowError, RecursionError, FutureWarning) as error:  # the last where warnings are errors
        problem = f"error for field '{fields[0]}'. {pattern[:100]!r} is no regular expression: {error}"
        raise failed_validation(problem) from None
    return lambda document: join(
        any(search(str(value)[:MAX_SEARCHED]) for value in members(document, name)) for name in fields
    )


_EXACT = re.compile(r"\^((?:[^\\^$.|?*+()\[\]{}]|\\\W)*)\$")
"""A text as it is, which is what clients ask for most."""
_ESCAPED = re.compile(r"\\(\W)")
_TOKENS = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\(\??|[)|]|[*+?]|\{", re.DOTALL)


def _is_quick(pattern: str) -> bool:
    """Whether a search must end soon: Python's own may try each way through nested repeats, and nobody else runs
    meanwhile. No repeat of a group that has a repeat or a choice, and MAX_REPEATS of both in all."""
    groups, count = [False], 0
    for token in _TOKENS.finditer(pattern):
        sign = token[0]
        if sign in ("(", "(?"):
            groups.append(False)
        elif sign == "|":
            groups[-1] = True
        elif sign == ")" and len(groups) > 1:
            varies = groups.pop()
            if varies and pattern[token.end() : token.end() + 1] in ("*", "+", "{"):
                return False
            count += varies
            groups[-1] = groups[-1] or varies
        elif sign in ("*", "+", "?", "{"):
            groups[-1] = True
            count += 1
    return count <= MAX_REPEATS
