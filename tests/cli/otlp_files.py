"""Reading what ``replay --out`` writes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def spans(out: Path) -> Iterator[dict[str, Any]]:
    """The spans of traces.jsonl, in order."""
    for line in (out / "traces.jsonl").read_bytes().splitlines():
        for resource in json.loads(line)["resourceSpans"]:
            for scope in resource["scopeSpans"]:
                yield from scope["spans"]


def attributes(item: dict[str, Any]) -> dict[str, Any]:
    """Name -> value of the attributes of a span, event or log record; scalars only."""
    return {one["key"]: next(iter(one["value"].values())) for one in item.get("attributes", ())}


def ids(item: dict[str, Any]) -> tuple[str, str]:
    return item["traceId"], item["spanId"]


def orphans(out: Path) -> list[str]:
    """Names of spans whose parent is not among the spans."""
    found = list(spans(out))
    known = {ids(span) for span in found}
    return [
        span["name"]
        for span in found
        if span.get("parentSpanId") and (span["traceId"], span["parentSpanId"]) not in known
    ]


def incomplete(out: Path) -> set[str]:
    """Run ids of the spans that were closed without an outcome."""
    found = map(attributes, spans(out))
    return {one["otel_events.run.id"] for one in found if one.get("otel_events.incomplete")}
