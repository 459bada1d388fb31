"""A dashboard for each source: the common panels under the source's own words, and what only it has."""

from __future__ import annotations

from grafana import common as c
from grafana.model import Dashboard, Panel, Query, Row

R = c.RATE
LABELS: dict[str, tuple[str, ...]] = {
    "flyte": c.DEFINES,
    "prefect": ("workflow", "name"),
    "ray": ("workflow", "name"),
    "clearml": ("name",),
}
"""What tells definitions of a source apart: the others are always empty there, and a choice of nothing is none."""


def _match(source: str, more: str = "") -> str:
    return ", ".join([f'source="{source}"', *(f'{label}=~"${label}"' for label in LABELS[source])]) + more


def _traces(source: str, kind: str = "workflow") -> Row:
    return Row(
        "Traces and logs",
        (
            c.recent_traces(
                f'{{ span.otel_events.source = "{source}" && span.otel_events.kind = "{kind}" }}', "Newest runs"
            ),
            c.failed_logs(f' | otel_events_source="{source}"'),
        ),
    )


def _runs(source: str, workflow: str) -> Row:
    match = _match(source, ', kind="workflow"')
    return Row(
        workflow,
        (
            c.outcomes(match),
            c.failure_ratio(match, "namespace, name" if "namespace" in LABELS[source] else "name"),
            c.durations(match),
            c.queueing(match),
        ),
    )


def _tasks(source: str, title: str, kind: str = "task") -> Row:
    match = _match(source, f', kind="{kind}"')
    return Row(
        title,
        (
            c.attempts(match),
            c.retries(match),
            c.durations(match),
            c.worst(match, c.TASK, c.TASK_LINK, "That fail most"),
        ),
    )


FLYTE = Dashboard(
    "otel-events-flyte",
    "otel_events / Flyte",
    "Executions, nodes and tasks of Flyte.",
    c.chained("", "flyte", LABELS["flyte"]),
    (
        _runs("flyte", "Executions"),
        _tasks("flyte", "Tasks"),
        Row(
            "Nodes and cache",
            (
                c.attempts(_match("flyte", ', kind="node"')),
                c.cache(_match("flyte")),
                Panel(
                    "Failures by kind",
                    "USER: the task's own error. SYSTEM: pods, nodes, storage; Flyte retries those from another budget.",
                    (
                        Query(
                            f'sum by (error_kind) (rate(otel_events_attempts_total{{{_match("flyte")}, outcome=~"failed|crashed"}}[{R}]))',
                            "{{error_kind}}",
                        ),
                    ),
                    unit="ops",
                    stacked=True,
                ),
                c.oldest(_match("flyte"), "name, phase"),
            ),
        ),
        _traces("flyte"),
    ),
    source="flyte",
)

PREFECT = Dashboard(
    "otel-events-prefect",
    "otel_events / Prefect",
    "Flow runs and task runs of Prefect.",
    c.chained("", "prefect", LABELS["prefect"]),
    (
        _runs("prefect", "Flow runs"),
        _tasks("prefect", "Task runs"),
        Row(
            "Late and crashed",
            (
                c.active(_match("prefect")),
                Panel(
                    "Crashed against failed",
                    "Crashed: the infrastructure ended the run. Failed: the flow or task did.",
                    (
                        Query(
                            f'sum by (outcome) (rate(otel_events_runs_total{{{_match("prefect")}, outcome=~"failed|crashed"}}[{R}]))',
                            "{{outcome}}",
                        ),
                    ),
                    unit="ops",
                    stacked=True,
                ),
                c.oldest(_match("prefect"), "name, phase"),
                c.cache(_match("prefect")),
            ),
        ),
        _traces("prefect"),
    ),
    source="prefect",
)

RAY = Dashboard(
    "otel-events-ray",
    "otel_events / Ray",
    "Jobs, tasks and actors of Ray: counters and durations, not gauges of states.",
    c.chained("", "ray", LABELS["ray"]),
    (
        _runs("ray", "Jobs"),
        _tasks("ray", "Tasks and actor methods"),
        Row(
            "Actors and nodes",
            (
                Panel(
                    "Actors alive",
                    "Actors that are alive, by class.",
                    (Query('sum by (name) (otel_events_ray_actors{workflow=~"$workflow"})', "{{name}}"),),
                    stacked=True,
                    width=8,
                ),
                Panel(
                    "Actor restarts",
                    "Restarts over the time shown, by class.",
                    (
                        Query(
                            'sum by (name) (increase(otel_events_ray_actor_restarts_total{workflow=~"$workflow"}[$__range]))',
                            "{{name}}",
                            instant=True,
                        ),
                    ),
                    type="bargauge",
                    width=8,
                ),
                Panel(
                    "Nodes alive",
                    "Nodes of all clusters.",
                    (Query("sum(otel_events_ray_nodes)", "nodes"),),
                    width=8,
                ),
                c.oldest(_match("ray"), "name, phase"),
                c.active(_match("ray")),
            ),
        ),
        _traces("ray"),
    ),
    source="ray",
)

CLEARML = Dashboard(
    "otel-events-clearml",
    "otel_events / ClearML",
    "Tasks (experiments) of ClearML and the scalars that they report.",
    c.chained("", "clearml", LABELS["clearml"]),
    (
        Row(
            "Tasks",
            (
                c.outcomes(_match("clearml")),
                c.failure_ratio(_match("clearml"), "name"),
                c.durations(_match("clearml")),
                c.queueing(_match("clearml")),
                c.active(_match("clearml")),
                c.oldest(_match("clearml"), "name, phase"),
            ),
        ),
        Row(
            "Scalars",
            (
                Panel(
                    "Last values",
                    "The last value of each scalar, by task name: what the task last told, not its whole series.",
                    (
                        Query(
                            f'max by (__name__, name, metric, variant) ({{__name__=~"otel_events_stat_.+", __name__!~".+_(total|bucket|sum|count)", {_match("clearml")}}})',
                            "{{__name__}} {{metric}} {{variant}} {{name}}",
                        ),
                    ),
                    width=24,
                    height=10,
                ),
            ),
        ),
        _traces("clearml", "task"),
    ),
    source="clearml",
    kind="task",  # nothing is above a task of ClearML
)
