"""What the dashboards share: matchers of the chained variables, and panels that several of them show."""

from __future__ import annotations

from grafana.model import Panel, Query, Variable

CHANGE = 'otel_events_phase_native!=""'
"""In LogQL: a phase change. Loki keeps attributes of records, and not their event name (tried: 3.7.8)."""
BAD = 'outcome=~"failed|crashed|timed_out"'
RATE = "$__rate_interval"

RUN_LINK = ("Open this run", "/d/otel-events-run?var-trace_id=${__data.fields.traceID}")
TASK_LINK = (
    "Open this task",
    "/d/otel-events-task?var-source=${__field.labels.source}&var-namespace=${__field.labels.namespace}"
    "&var-workflow=${__field.labels.workflow}&var-name=${__field.labels.name}&${__url_time_range}",
)
TASK = "source, namespace, workflow, name"
"""Labels that say which task, all of which TASK_LINK hands on."""
WORKFLOW_LINK = (
    "Open this workflow",
    "/d/otel-events-workflow?var-source=${__field.labels.source}&var-namespace=${__field.labels.namespace}&var-name=${__field.labels.name}&${__url_time_range}",
)

SCOPE = 'source=~"$source", namespace=~"$namespace"'
DEFINITION = f'{SCOPE}, workflow=~"$workflow", name=~"$name"'


DEFINES = ("namespace", "workflow", "name")
"""Labels that say which definition, from the outside in."""


def chained(kind: str, source: str = "", labels: tuple[str, ...] = DEFINES) -> tuple[Variable, ...]:
    """The source and these labels: each lists what the ones before it leave. ``kind``: of the names; "" for all."""
    kinds = f', kind="{kind}"' if kind else ""
    matchers = [f'source="{source}"' if source else 'source=~"$source"']
    found = [] if source else [Variable("source", "Source", "otel_events_runs_total")]
    for label in labels:
        some = ", ".join(matchers) + ("" if label == "namespace" else kinds)
        found.append(Variable(label, label.capitalize(), f"otel_events_runs_total{{{some}}}"))
        matchers.append(f'{label}=~"${label}"')
    return tuple(found)


def outcomes(match: str, title: str = "Runs ended, by outcome", width: int = 12) -> Panel:
    return Panel(
        title,
        "Finished runs a second, after retries. A run counts once, with the outcome of its last attempt.",
        (Query(f"sum by (outcome) (rate(otel_events_runs_total{{{match}}}[{RATE}]))", "{{outcome}}"),),
        unit="ops",
        width=width,
        stacked=True,
    )


def failure_ratio(match: str, by: str, width: int = 12) -> Panel:
    return Panel(
        "Failure ratio",
        "Of the runs that ended: how many failed, crashed or timed out. Cancelled and skipped runs are no failures.",
        (
            Query(
                f"sum by ({by}) (rate(otel_events_runs_total{{{match}, {BAD}}}[{RATE}]))"
                f" / (sum by ({by}) (rate(otel_events_runs_total{{{match}}}[{RATE}])) > 0)",
                _legend(by),
            ),
        ),
        unit="percentunit",
        width=width,
        warn=0.1,
        crit=0.5,
    )


def quantiles(family: str, match: str, title: str, text: str, width: int = 12) -> Panel:
    """p50, p95 and p99 of a histogram, with its exemplars: a click on one opens its trace."""
    return Panel(
        title,
        text,
        tuple(
            Query(
                f"histogram_quantile({share}, sum by (le) (rate({family}_bucket{{{match}}}[{RATE}])))",
                f"p{share * 100:.0f}",
                exemplars=share == 0.95,
            )
            for share in (0.5, 0.95, 0.99)
        ),
        unit="s",
        width=width,
    )


def durations(match: str, width: int = 12) -> Panel:
    return quantiles(
        "otel_events_run_duration_seconds",
        match,
        "Run duration",
        "From the first running of a run to its end. Dots are runs: a click opens the trace.",
        width,
    )


def queueing(match: str, width: int = 12) -> Panel:
    return quantiles(
        "otel_events_queue_duration_seconds",
        match,
        "Queue time",
        "From the creation of a run to its first running. Dots are runs: a click opens the trace.",
        width,
    )


def active(match: str, width: int = 12) -> Panel:
    return Panel(
        "Under way, by phase",
        "Attempts that have not ended, by the phase they are in.",
        (Query(f"sum by (phase) (otel_events_runs_active{{{match}}})", "{{phase}}"),),
        width=width,
        stacked=True,
    )


def oldest(match: str, by: str = "source, name, phase", width: int = 12) -> Panel:
    return Panel(
        "Oldest run in its phase",
        "How long ago the oldest run that is now in the phase began. A line that only climbs is a run that is stuck.",
        (
            Query(
                f"time() - min by ({by}) (otel_events_oldest_run_start_time_seconds{{{match}}})",
                _legend(by),
            ),
        ),
        unit="s",
        width=width,
        warn=3600,
        crit=86400,
    )


def attempts(match: str, width: int = 12) -> Panel:
    return Panel(
        "Attempts ended, by outcome",
        "Ended attempts a second: a retried run counts once for each try. error_kind tells users' errors from the system's.",
        (
            Query(
                f"sum by (outcome, error_kind) (rate(otel_events_attempts_total{{{match}}}[{RATE}]))",
                "{{outcome}} {{error_kind}}",
            ),
        ),
        unit="ops",
        width=width,
        stacked=True,
    )


def retries(match: str, width: int = 12) -> Panel:
    return Panel(
        "Attempts a run",
        "Ended attempts for each finished run; 1 is no retries.",
        (
            Query(
                f"sum(rate(otel_events_attempts_total{{{match}}}[{RATE}]))"
                f" / (sum(rate(otel_events_runs_total{{{match}}}[{RATE}])) > 0)",
                "attempts a run",
            ),
        ),
        width=width,
        warn=1.5,
        crit=3,
    )


def cache(match: str, width: int = 12) -> Panel:
    return Panel(
        "Cache",
        "Ended attempts a second that told a cache status.",
        (Query(f"sum by (status) (rate(otel_events_cache_total{{{match}}}[{RATE}]))", "{{status}}"),),
        unit="ops",
        width=width,
        stacked=True,
    )


def worst(match: str, by: str, link: tuple[str, str], title: str, width: int = 12) -> Panel:
    return Panel(
        title,
        "The ten definitions with most failed, crashed or timed out runs over the time shown.",
        (
            Query(
                f"topk(10, sum by ({by}) (increase(otel_events_runs_total{{{match}, {BAD}}}[$__range])) > 0)",
                _legend(by.removeprefix("source, namespace, ")),
                instant=True,
            ),
        ),
        type="bargauge",
        width=width,
        fault=True,
        data_links=(link,),
    )


def failed_logs(match: str, width: int = 24) -> Panel:
    """``match``: of LogQL, on structured metadata; "" for all."""
    return Panel(
        "Ends that were not well",
        "Log events of runs that failed, crashed or timed out, with their errors. The trace id of a line opens its trace.",
        (
            Query(
                f'{{service_name="otel_events"}} | severity_text="ERROR" | {CHANGE}{match}',
                backend="loki",
            ),
        ),
        type="logs",
        width=width,
        height=10,
        fault=True,
    )


def recent_traces(query: str, title: str, fault: bool = False, width: int = 24) -> Panel:
    return Panel(
        title,
        "Traces from Tempo, newest first; a click opens the run.",
        (Query(query, backend="tempo"),),
        type="table",
        width=width,
        height=9,
        fault=fault,
        data_links=(RUN_LINK,),
    )


def _legend(by: str) -> str:
    return " ".join(f"{{{{{label.strip()}}}}}" for label in by.split(","))
