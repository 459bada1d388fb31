"""Recorded calls of a real ClearML server: sent to ours again, its answers held to the recorded ones.

A transcript is JSON lines: what is true of the file, then one call a line. Ids, scroll ids and times which the recorded
server made are learnt from our answers as they come: wherever a recorded one stands later, ours has to stand.

Held equal: status, content type, code, subcode and all of ``data`` (where a call says ``match: subset``, only what its
``fields`` name). Floats may differ by a millionth. ``ties`` and ``unordered`` name lists in which some or any order
is free, ``ordered`` objects whose order of keys counts. Patterns are paths with ``[]`` for any place in a list.
"""

from __future__ import annotations

import gzip
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import httpx
import msgspec

FOLDER = Path(__file__).parents[1] / "golden" / "clearml_api"
_ID = re.compile(r"[0-9a-f]{32}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:?\d\d)?")
_TOLD_AT = ("timestamp", "last_timestamp")
_NOTHING: Any = object()


class Call(msgspec.Struct):
    """One call and the answer that the recorded server gave."""

    n: int
    method: str
    path: str
    headers: dict[str, str]
    status: int
    response_type: str
    response: Any = None
    response_text: str = ""
    response_disposition: str = ""
    body: Any = msgspec.UNSET
    body_lines: list[Any] | None = None
    body_columns: dict[str, Any] | None = None
    body_text: str = ""
    match: str = "all"
    fields: tuple[str, ...] = ()
    ties: dict[str, list[str]] = {}
    unordered: frozenset[str] = frozenset()
    ordered: frozenset[str] = frozenset()

    def text(self, ids: Ids) -> str:
        """The body to send."""
        if self.body is not msgspec.UNSET:
            return json.dumps(ids.put_into(self.body))
        lines = _rows(self.body_columns) if self.body_columns else self.body_lines
        if lines is not None:
            return "\n".join(json.dumps(ids.put_into(line)) for line in lines)
        return str(ids.put_into(self.body_text))


def _rows(answer: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Lines that were told by column: row i is ``base`` and value i of each column; a range counts."""
    base, columns = answer["base"], answer["columns"]
    for i in range(answer["rows"]):
        row = {}
        for key in answer["keys"]:
            column = columns.get(key)
            counted = isinstance(column, dict)
            row[key] = (
                base[key] if key in base else column["range"][0] + i * column["range"][1] if counted else column[i]
            )
        yield row


class Head(msgspec.Struct):
    """What is true of a transcript: the kinds ("object", "scroll") of ids that its server made, and its times."""

    ids: dict[str, str]
    server_times: frozenset[int | float]


class Ids:
    """Ours, by the recorded ones."""

    def __init__(self, kinds: Mapping[str, str], ours_by_recorded: Mapping[str, str] | None = None) -> None:
        self._kinds, self._ours = kinds, dict(ours_by_recorded or {})

    def made_by_the_server(self, text: str) -> bool:
        return text in self._kinds

    def learn(self, recorded: str, ours: object) -> bool:
        """Whether ours can stand for the recorded one: a scroll's may change, any other's is one for one."""
        if not isinstance(ours, str) or not ours:
            return False
        if self._kinds[recorded] != "scroll":
            others = [theirs for theirs in self._ours if self._ours[theirs] == ours]
            if self._ours.get(recorded, ours) != ours or others not in ([], [recorded]):
                return False
        self._ours[recorded] = ours
        return True

    def put_into(self, value: Any) -> Any:
        """``value`` with our ids in place of the recorded ones, at any depth."""
        if isinstance(value, str):
            if value in self._ours:
                return self._ours[value]
            return _ID.sub(lambda match: self._ours.get(match[0], match[0]), value)
        if isinstance(value, list):
            return [self.put_into(item) for item in value]
        if isinstance(value, dict):
            return {self.put_into(key): self.put_into(item) for key, item in value.items()}
        return value

    def copy(self) -> Ids:
        return Ids(self._kinds, self._ours)

    def take(self, other: Ids) -> None:
        self._ours = other._ours


class Comparison(msgspec.Struct):
    """One answer with the recorded one. ``holders``: patterns of objects that may have more than was recorded."""

    ids: Ids
    times: frozenset[int | float]
    call: Call
    holders: frozenset[str]

    def differences(self, recorded: Any, ours: Any, pattern: str, key: str = "") -> Iterator[str]:
        if isinstance(recorded, dict) and isinstance(ours, dict):
            yield from self._objects(recorded, ours, pattern)
        elif isinstance(recorded, list) and isinstance(ours, list):
            yield from self._lists(recorded, ours, pattern)
        elif not self._same(recorded, ours, key):
            yield f"{pattern}: recorded {str(recorded)[:200]!r}, ours {str(ours)[:200]!r}"

    def _same(self, recorded: Any, ours: Any, key: str) -> bool:
        if isinstance(recorded, str):
            if key == "@timestamp":
                return isinstance(ours, str) and _TIME.fullmatch(ours) is not None
            if recorded == "<token>":
                return isinstance(ours, str) and bool(ours)
            if self.ids.made_by_the_server(recorded):
                return self.ids.learn(recorded, ours)
            return bool(self.ids.put_into(recorded) == ours)
        if not _is_number(recorded) or not _is_number(ours):
            return recorded is ours  # null, true, false; an object or a list against something else
        if key in _TOLD_AT and recorded in self.times:
            return bool(1e12 < ours < 1e14)
        return _close(recorded, ours)

    def _objects(self, recorded: dict[str, Any], ours: dict[str, Any], pattern: str) -> Iterator[str]:
        wanted = {self.ids.put_into(key): (key, value) for key, value in recorded.items()}
        for name, (key, value) in wanted.items():
            yield from self.differences(value, ours.get(name, _NOTHING), f"{pattern}.{key}", key)
        more = ours.keys() - wanted.keys()
        if more and pattern not in self.holders:
            yield f"{pattern}: ours has {sorted(more)} too"
        in_order = any(_fits(ordered, pattern) for ordered in self.call.ordered)
        if in_order and not more and list(wanted) != list(ours):
            yield f"{pattern}: the keys are in another order"

    def _lists(self, recorded: list[Any], ours: list[Any], pattern: str) -> Iterator[str]:
        if len(recorded) != len(ours):
            yield f"{pattern}: recorded {len(recorded)} items, ours {len(ours)}"
            return
        fields = self.call.ties.get(pattern)
        if pattern in self.call.unordered:
            yield from self._any_order(recorded, ours, pattern)
        elif fields is not None:
            for theirs, other in _tied(recorded, ours, fields):
                yield from self._any_order(theirs, other, pattern)
        else:
            for theirs, other in zip(recorded, ours, strict=True):
                yield from self.differences(theirs, other, f"{pattern}[]")

    def _any_order(self, recorded: Sequence[Any], ours: Sequence[Any], pattern: str) -> Iterator[str]:
        left = list(ours)
        for item in recorded:
            place = next((at for at, other in enumerate(left) if self._fit(item, other, pattern)), None)
            if place is None:
                yield f"{pattern}[]: ours has none that is {str(item)[:200]}"
                return
            left.pop(place)

    def _fit(self, recorded: Any, ours: Any, pattern: str) -> bool:
        """Whether they are the same; what is learnt by it stays only then."""
        trial = Comparison(self.ids.copy(), self.times, self.call, self.holders)
        if next(trial.differences(recorded, ours, f"{pattern}[]"), None) is not None:
            return False
        self.ids.take(trial.ids)
        return True


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _close(recorded: float, ours: float) -> bool:
    if isinstance(recorded, int) and isinstance(ours, int):
        return recorded == ours
    return recorded == ours or math.isclose(recorded, ours, rel_tol=1e-6, abs_tol=1e-40)


def _tied(recorded: list[Any], ours: list[Any], fields: list[str]) -> Iterator[tuple[list[Any], list[Any]]]:
    """Pieces of both lists of which all items have the same ``fields`` as recorded: their order is free."""

    def key(item: Any) -> Any:
        return [item.get(field) for field in fields] if isinstance(item, dict) else item

    at = 0
    for _, group in groupby(recorded, key):
        piece = list(group)
        yield piece, ours[at : at + len(piece)]
        at += len(piece)


def _fits(wanted: str, pattern: str) -> bool:
    """``data.*`` is every member of data."""
    steps, path = wanted.split("."), pattern.split(".")
    return len(steps) == len(path) and all(step in ("*", other) for step, other in zip(steps, path, strict=True))


def _holders(call: Call) -> frozenset[str]:
    """Of a call that tells only some fields: the objects in which those lie."""
    if call.match != "subset":
        return frozenset()
    paths = [["data", *field.split(".")] for field in call.fields]
    return frozenset(["data", *(".".join(path[:at]) for path in paths for at in range(1, len(path)))])


class Transcript:
    """Calls of one file, and what is learnt while they are made."""

    def __init__(self, path: Path) -> None:
        first, *rest = gzip.decompress(path.read_bytes()).splitlines()
        head = msgspec.json.decode(first, type=Head)
        self.calls = [msgspec.json.decode(line, type=Call) for line in rest if line.strip()]
        self._ids, self._times = Ids(head.ids), head.server_times

    def differences(self, client: httpx.Client, call: Call, credentials: str, token: str) -> list[str]:
        """Make one call; how its answer differs from the recorded one."""
        filled = {
            name: value.replace("<credentials>", credentials).replace("<token>", token)
            for name, value in call.headers.items()
        }
        path, body = str(self._ids.put_into(call.path)), call.text(self._ids).encode()
        answer = client.request(call.method, path, headers=filled, content=body)
        if answer.status_code != call.status:
            return [f"status: recorded {call.status}, ours {answer.status_code}: {answer.text[:300]}"]
        media_type = answer.headers["content-type"].partition(";")[0]
        other_type = [f"content type: recorded {call.response_type}, ours {media_type}"]
        kind = [] if media_type == call.response_type else other_type
        return kind + list(self._compared(call, answer))

    def _compared(self, call: Call, answer: httpx.Response) -> Iterable[str]:
        comparison = Comparison(self._ids, self._times, call, _holders(call))
        if call.response is not None:
            recorded, ours = dict(call.response), answer.json()
            codes = [(recorded["meta"][name], ours["meta"][name]) for name in ("result_code", "result_subcode")]
            yield from (f"code: recorded {theirs}, ours {other}" for theirs, other in codes if theirs != other)
            yield from comparison.differences(recorded["data"], ours["data"], "data")
            return
        disposition = answer.headers.get("content-disposition", "").replace('"', "")
        if self._ids.put_into(call.response_disposition).replace('"', "") != disposition:
            yield f"content-disposition: recorded {call.response_disposition}, ours {disposition}"
        if call.status < 400:
            yield from _texts(comparison, call.response_text, answer.text)


def _texts(comparison: Comparison, recorded: str, ours: str) -> Iterable[str]:
    """Of downloads: JSON lines as objects (lines of one time in any order), else as they are."""
    try:
        wanted, actual = ([json.loads(line) for line in text.splitlines()] for text in (recorded, ours))
    except ValueError:
        same = comparison.ids.put_into(recorded) == ours
        return [] if same else [f"text: recorded {recorded[:300]!r}, ours {ours[:300]!r}"]
    comparison.call.ties = {"line": ["asctime"]}
    return comparison.differences(wanted, actual, "line")
