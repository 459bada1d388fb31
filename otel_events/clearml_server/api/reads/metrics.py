"""Which metrics and variants there are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from otel_events.clearml_server.api.base import MODEL, TASK, Call, Service
from otel_events.clearml_server.api.reads.asked import one_owner, owners, texts
from otel_events.clearml_server.store import SCALAR, VECTOR, Owner, Series
from otel_events.clearml_server.store.model import hashed


def get_scalar_metrics_and_variants(service: Service, call: Call) -> dict[str, Any]:
    return {"metrics": _names(service.store.series([one_owner(service, call)], (SCALAR,)))}


def get_vector_metrics_and_variants(service: Service, call: Call) -> dict[str, Any]:
    return {"metrics": _names(service.store.series([one_owner(service, call)], (VECTOR,)))}


def _names(series: Sequence[Series]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for one in series:
        found.setdefault(one.metric, []).append(one.variant)
    return found


def get_task_metrics(service: Service, call: Call) -> dict[str, Any]:
    """For each task its metrics of that type; the nameless metric of log lines is none."""
    asked = owners(service, call, call.data["tasks"])
    kinds = _types(call.data["event_type"])
    found: dict[Owner, set[str]] = {owner: set() for owner in asked}
    for one in service.store.series(asked, kinds):
        if one.metric:
            found[one.owner].add(one.metric)
    return {"metrics": [{"task": owner.id, "metrics": sorted(found[owner])} for owner in asked]}


def get_multi_task_metrics(service: Service, call: Call) -> dict[str, Any]:
    """The metrics and variants of several tasks together."""
    asked = owners(service, call, call.data["tasks"])
    found: dict[str, set[str]] = {}
    for one in service.store.series(asked, _types(call.data["event_type"])):
        found.setdefault(one.metric, set()).add(one.variant)
    return {"metrics": [{"metric": name, "variants": sorted(of)} for name, of in sorted(found.items())]}


def _types(kind: str) -> tuple[str, ...]:
    return () if kind == "*" else (kind,)


def get_unique_metric_variants(service: Service, call: Call) -> dict[str, Any]:
    """Of the last metrics of these tasks (or models), of those of a project, or of all."""
    model = call.data["model_metrics"]
    ids = texts("ids", call.data.get("ids")) or None
    project = call.data.get("project")
    where = {"project": project} if project else None
    found = service.store.find(MODEL if model else TASK, ids=ids, where=where)
    unique = service.store.unique_metrics([Owner(one["id"], model) for one in found])
    return {
        "metrics": [
            {
                "metric": one.metric,
                "metric_hash": hashed(one.metric),
                "variant": one.variant,
                "variant_hash": hashed(one.variant),
            }
            for one in unique
        ]
    }
