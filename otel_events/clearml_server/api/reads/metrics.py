"""Lists of metrics and variants."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from otel_events.clearml_server.api.base import MODEL, TASK, Call, Service
from otel_events.clearml_server.api.reads.requests import owners, single_owner, texts
from otel_events.clearml_server.store import SCALAR, VECTOR, Owner, Series
from otel_events.clearml_server.store.model import hashed


def get_scalar_metrics_and_variants(service: Service, call: Call) -> dict[str, Any]:
    """{metric: variants} of the scalars of a task."""
    return {"metrics": _names(service.events.series([single_owner(service, call)], (SCALAR,)))}


def get_vector_metrics_and_variants(service: Service, call: Call) -> dict[str, Any]:
    """{metric: variants} of the vectors of a task."""
    return {"metrics": _names(service.events.series([single_owner(service, call)], (VECTOR,)))}


def _names(series: Sequence[Series]) -> dict[str, list[str]]:
    variants: dict[str, list[str]] = {}
    for single in series:
        variants.setdefault(single.metric, []).append(single.variant)
    return variants


def get_task_metrics(service: Service, call: Call) -> dict[str, Any]:
    """For each task its metrics of that type, without the nameless metric of log lines."""
    tasks = owners(service, call, call.data["tasks"])
    metrics: dict[Owner, set[str]] = {owner: set() for owner in tasks}
    for series in service.events.series(tasks, _types(call.data["event_type"])):
        if series.metric:
            metrics[series.owner].add(series.metric)
    return {"metrics": [{"task": owner.id, "metrics": sorted(metrics[owner])} for owner in tasks]}


def get_multi_task_metrics(service: Service, call: Call) -> dict[str, Any]:
    """The metrics and variants of several tasks together."""
    tasks = owners(service, call, call.data["tasks"])
    variants: dict[str, set[str]] = {}
    for series in service.events.series(tasks, _types(call.data["event_type"])):
        variants.setdefault(series.metric, set()).add(series.variant)
    return {"metrics": [{"metric": name, "variants": sorted(of)} for name, of in sorted(variants.items())]}


def _types(kind: str) -> tuple[str, ...]:
    return () if kind == "*" else (kind,)


def get_unique_metric_variants(service: Service, call: Call) -> dict[str, Any]:
    """The names of the last metrics of these tasks (or models), of a project's, or of all."""
    model = call.data["model_metrics"]
    ids = texts("ids", call.data.get("ids")) or None
    project = call.data.get("project")
    where = {"project": project} if project else None
    documents = service.documents.find(MODEL if model else TASK, ids=ids, where=where)
    series = service.events.series([Owner(document["id"], model) for document in documents], with_events=False)
    unique = sorted({(scalars.metric, scalars.variant) for scalars in series if scalars.stats is not None})
    return {
        "metrics": [
            {"metric": metric, "metric_hash": hashed(metric), "variant": variant, "variant_hash": hashed(variant)}
            for metric, variant in unique
        ]
    }
