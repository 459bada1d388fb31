"""Filters of ``get_all``: its fields become tests of a document.

    {"system_tags": ["__$all", "dataset", "__$not", "archived"], "name": "^net$", "last_update": [">=2026-01-01"]}

The rules are those of the recorded server (API 2.34).

In a list each value is wanted, unless ``__$not`` stands before it or it begins with ``-``: then it is excluded. After
``__$all`` (``__$and``) all following values are wanted, after ``__$any`` (``__$or``) one of them, which is also the
rule at the beginning of a list; ``__$nop`` goes back to that rule. A null matches documents without any value. The
values behind one operator are a part, and the first operator of the list also joins its parts.

Names are regular expressions, with case; those of ``_any_`` and ``_all_`` ignore case.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from otel_events.clearml_server.api.base import ApiError, failed_validation

Document = dict[str, Any]
Test = Callable[[Document], bool]
Join = Callable[[Iterable[bool]], bool]
"""``all`` or ``any``."""

MAX_PATTERN = 1_000
"""Characters of a regular expression."""
MAX_REPEATS = 2
"""Repeats and options in a regular expression, and groups that have a repeat, an option or a choice in them."""
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

_JOINS: dict[str, Join] = {"__$all": all, "__$and": all, "__$any": any, "__$or": any}
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
        member = holder.get(step) if isinstance(holder, dict) else None
        if rest:
            yield from members(member, rest)
        elif isinstance(member, list):
            yield from member
        elif member is not None:
            yield member


# --- lists -----------------------------------------------------------------------------------------------------------


def _is_list_field(name: str) -> bool:
    return name in LISTS or name.startswith(LISTS_BELOW)


class _Term(NamedTuple):
    """A value of a list, whether it is wanted, and how the wanted ones of its part are joined. An operator has no
    value, a null has no join either."""

    join: Join | None
    wanted: bool
    value: str | None


_NULL = _Term(None, True, None)


def _listed(field: str, sent: Any) -> Test:
    terms = list(_terms(field, sent if isinstance(sent, list) else [sent]))
    parts: dict[tuple[Join, bool], set[str]] = {}
    for term in terms:
        if term.join is not None and term.value is not None:
            parts.setdefault((term.join, term.wanted), set()).add(term.value)
    operators = [term.join for term in terms if term.join is not None and term.value is None]
    whole = operators[0] if operators else all
    empty = _NULL in terms

    def test(document: Document) -> bool:
        have = set(map(str, members(document, field)))
        if empty and not have:
            return True
        results = [join(value in have for value in values) if wanted else have.isdisjoint(values)
                for (join, wanted), values in parts.items()]  # fmt: skip
        return whole(results) if results else not empty

    return test


def _terms(field: str, sent: list[Any]) -> Iterator[_Term]:
    """The terms of a list. A leading ``-`` excludes a value until the first operator; behind one it is a letter."""
    join: Join = any
    dashes, refused = True, False
    for value in sent:
        if value is not None and not isinstance(value, str):
            raise ApiError(400, 16, f"Invalid value for fields (string expected): field={field}, value={value!r:.100}")
        if value is None or value == "__$nop":
            join, dashes = (join, dashes) if value is None else (any, True)
            refused = False
            if value is None:
                yield _NULL
        elif value.startswith("__$"):
            if refused or (value != "__$not" and value not in _JOINS):
                raise ApiError(400, 16, f"Invalid value for fields (operator): field={field}, operator={value[:100]}")
            refused = value == "__$not"
            if not refused:
                join, dashes = _JOINS[value], False
                yield _Term(join, True, None)
        else:
            excluded = dashes and not refused and value.startswith("-")
            yield _Term(join, not (refused or excluded), value[1:] if excluded else value)
            refused = False
    if refused:
        raise ApiError(400, 16, f"Invalid value for fields (a value is expected after __$not): field={field}")


# --- times -----------------------------------------------------------------------------------------------------------


def _compared(name: str, values: list[Any]) -> Iterator[Test]:
    """Tests of a time. Each value is a comparison (``>=2026-01-01``) or a time; of two times the first is the least and
    the second the greatest."""
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
    """A test whether a regular expression matches somewhere in all, or in one, of the fields."""
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
"""A pattern that is a plain text between ``^`` and ``$``, which is what clients send most."""
_ESCAPED = re.compile(r"\\(\W)")
_TOKENS = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\(\??|[)|]|[*+?]|\{", re.DOTALL)


def _is_quick(pattern: str) -> bool:
    """Whether a search with this pattern ends soon. Python's engine may try every way through nested repeats, and holds
    the GIL meanwhile. So a group with a repeat or a choice may not be repeated, and there are MAX_REPEATS at most."""
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
