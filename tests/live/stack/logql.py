"""LogQL as far as the dashboards use it, over records as Loki keeps them: where no Loki can be built, what the queries
select by is looked for in what would have reached it.

Of an OTLP record Loki (pkg/loghttp/push/otlp.go of 3.7.8) keeps the time, body, severity, trace and span id, and
attributes with every other character than letters, digits and _ made _; not the event name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from otel_events.testing import CaptureServer

_SELECTOR = re.compile(r"\{([^}]*)\}")
_FILTER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')

Labels = dict[str, str]


def records(store: CaptureServer) -> list[Labels]:
    """Labels and structured metadata of every log record that came."""
    requests = [one.message for one in store.requests if one.signal == "logs"]
    return [
        _attributes(group.resource.attributes) | _of(record)
        for request in requests
        for group in request.resource_logs
        for scope in group.scope_logs
        for record in scope.log_records
    ]


def _of(record: Any) -> Labels:
    ids = {"trace_id": record.trace_id.hex(), "span_id": record.span_id.hex(), "severity_text": record.severity_text}
    return _attributes(record.attributes) | {key: value for key, value in ids.items() if value}


def _attributes(found: Any) -> Labels:
    return dict(_attribute(one) for one in found)


def _attribute(one: Any) -> tuple[str, str]:
    value = getattr(one.value, one.value.WhichOneof("value") or "string_value")
    return re.sub(r"[^a-zA-Z0-9_]", "_", one.key), str(value)


def selected(query: str, found: list[Labels]) -> Iterator[Labels]:
    """The records that ``query`` gives: a selector, then stages of label filters, which ``or`` may join."""
    selector, stages = _SELECTOR.match(query), query.partition("}")[2].split("|")[1:]
    assert selector, query
    terms = [_terms(selector[1]), *(_terms(stage) for stage in stages)]
    for labels in found:
        if all(any(_holds(labels, *term) for term in stage) for stage in terms):
            yield labels


def _terms(stage: str) -> list[tuple[str, str, str]]:
    """The filters of a stage, of which one has to hold. AssertionError where there is more than this page knows."""
    rest = _FILTER.sub("", stage).split()
    assert set(rest) <= {"or"}, f"more than filters joined by or: {stage}"
    return _FILTER.findall(stage)


def _holds(labels: Labels, name: str, operator: str, value: str) -> bool:
    """As in Loki: what is not there is empty, and a pattern has to match all of it."""
    there = labels.get(name, "")
    same = bool(re.fullmatch(value, there)) if "~" in operator else there == value
    return same is not operator.startswith("!")
