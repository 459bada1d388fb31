"""What the requests of the readers have in common: whose events they want, which metrics, and how many."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from otel_events.clearml_server.api.base import ApiError, Call, Service, failed_validation
from otel_events.clearml_server.store import Metrics, Owner

EMPTY_SCROLL = "FFFF"
"""What ClearML answers as the scroll id when there is nothing more to scroll."""
_MAX_NAMES = 10_000


def owners(service: Service, call: Call, ids: Sequence[object], field: str = "tasks") -> list[Owner]:
    """The owners with these ids: models where the call says ``model_events``, else tasks.

    Raises:
        ApiError: 400/101 or 400/201, one does not exist; 400/12, an id is no text.
    """
    model = bool(call.data.get("model_events"))
    wanted = [Owner(id_, model) for id_ in dict.fromkeys(texts(field, ids))]
    service.must_exist(wanted)
    return wanted


def single_owner(service: Service, call: Call) -> Owner:
    """The owner that the field ``task`` names; ApiError as ``owners``."""
    return owners(service, call, [call.data["task"]], "task")[0]


def names_of(service: Service, wanted: Sequence[Owner]) -> dict[Owner, str]:
    """The names of tasks, or of models."""
    return {owner: service.name(owner) for owner in wanted}


def metrics_filter(call: Call) -> dict[str, list[str]]:
    """The field ``metrics``, [{metric, variants}], as the store takes it."""
    return _chosen("metrics", call.data.get("metrics") or [])


def metric_variants(field: str, value: Any) -> tuple[str, list[str]]:
    """The metric and the variants of one {metric, variants}; ApiError 400/12 where it is none."""
    if not isinstance(value, dict):
        raise failed_validation(
            f"error for field '{field}': ('value is wrong, expected type \"metricvariants\"', ...)."
        )
    variants = value.get("variants") or []
    if not isinstance(variants, list):
        raise _wrong(field, variants)
    return _text(field, value.get("metric")), [_text(field, variant) for variant in variants]


def filters_by_owner(service: Service, call: Call) -> dict[Owner, Metrics]:
    """The field ``metrics``, [{task, metric, variants}], by task in order; an entry without a metric wants all."""
    by_task: dict[str, list[dict[str, Any]]] = {}
    for entry in call.data["metrics"]:
        if not isinstance(entry, dict):
            raise _wrong("metrics", entry)
        by_task.setdefault(_text("metrics", entry.get("task")), []).append(entry)
    chosen: dict[Owner, Metrics] = {}
    for owner in owners(service, call, list(by_task), "metrics"):
        entries = by_task[owner.id]
        every = any(row.get("metric") is None for row in entries)
        chosen[owner] = {} if every else _chosen("metrics", entries)
    return chosen


def _chosen(field: str, entries: Sequence[object]) -> dict[str, list[str]]:
    """Metrics and their variants; a metric that one entry names without variants has them all."""
    chosen: dict[str, list[str]] = {}
    whole: set[str] = set()
    for entry in entries[:_MAX_NAMES]:
        name, variants = metric_variants(field, entry)
        if not variants:
            whole.add(name)
        chosen.setdefault(name, []).extend(variants)
    return {name: [] if name in whole else variants for name, variants in chosen.items()}


def texts(field: str, values: Sequence[object] | None) -> list[str]:
    """A list of strings; ApiError 400/12 where an item is none."""
    return [_text(field, value) for value in values or ()]


def _text(field: str, value: object) -> str:
    if not isinstance(value, str):
        raise _wrong(field, value)
    return value


def _wrong(field: str, value: object, name: str = "str") -> ApiError:
    shown = repr(value)[:100]
    return failed_validation(f"error for field '{field}': ('value is wrong, expected type \"{name}\"', {shown}).")


def bounded(size: int, most: int) -> int:
    """The size of a page, ``most`` at the most; ApiError 400/12 where it is negative."""
    if size < 0:
        raise failed_validation("batch_size should be non negative number")
    return min(size, most)
