"""The dashboards that serve every source."""

from __future__ import annotations

from grafana import common as c
from grafana.model import Dashboard, Panel, Query, Row, Variable

R = c.RATE

OVERVIEW = Dashboard(
    "otel-events-overview",
    "otel_events / Overview",
    "Every workflow of every source: what runs, what failed, what waits. Start here.",
    (c.chained("workflow")[0], c.chained("workflow")[1]),
    (
        Row(
            "Now",
            (
                Panel(
                    "Running",
                    "Workflow runs under way that are running now.",
                    (Query(f'sum(otel_events_runs_active{{{c.SCOPE}, kind="workflow", phase="running"}})'),),
                    type="stat",
                    width=4,
                    height=4,
                ),
                Panel(
                    "Waiting",
                    "Runs and attempts that are pending or paused now.",
                    (Query(f'sum(otel_events_runs_active{{{c.SCOPE}, phase=~"pending|paused"}})'),),
                    type="stat",
                    width=4,
                    height=4,
                ),
                Panel(
                    "Ended well",
                    "Workflow runs that succeeded in the time shown.",
                    (
                        Query(
                            f'sum(increase(otel_events_runs_total{{{c.SCOPE}, kind="workflow", outcome="succeeded"}}[$__range]))',
                            instant=True,
                        ),
                    ),
                    type="stat",
                    width=4,
                    height=4,
                ),
                Panel(
                    "Failed",
                    "Workflow runs that failed, crashed or timed out in the time shown.",
                    (
                        Query(
                            f'sum(increase(otel_events_runs_total{{{c.SCOPE}, kind="workflow", {c.BAD}}}[$__range]))',
                            instant=True,
                        ),
                    ),
                    type="stat",
                    width=4,
                    height=4,
                    warn=1,
                    crit=10,
                ),
                Panel(
                    "Oldest run under way",
                    "How long ago the oldest run that has not ended began.",
                    (Query(f"time() - min(otel_events_oldest_run_start_time_seconds{{{c.SCOPE}}})"),),
                    type="stat",
                    unit="s",
                    width=4,
                    height=4,
                    warn=3600,
                    crit=86400,
                ),
                Panel(
                    "Records taken in",
                    "Records a second from all sources; 0 means that nobody sends.",
                    (Query(f"sum(rate(otel_events_records_received_total[{R}]))"),),
                    type="stat",
                    unit="ops",
                    width=4,
                    height=4,
                ),
            ),
        ),
        Row(
            "Outcomes",
            (
                c.outcomes(f'{c.SCOPE}, kind="workflow"'),
                c.failure_ratio(f'{c.SCOPE}, kind="workflow"', "source, namespace"),
                c.worst(
                    f'{c.SCOPE}, kind="workflow"',
                    "source, namespace, name",
                    c.WORKFLOW_LINK,
                    "Workflows that fail most",
                ),
                c.worst(f'{c.SCOPE}, kind="task"', c.TASK, c.TASK_LINK, "Tasks that fail most"),
            ),
        ),
        Row("Under way", (c.active(c.SCOPE), c.oldest(c.SCOPE))),
        Row(
            "Traces and logs",
            (
                c.recent_traces('{ span.otel_events.kind = "workflow" }', "Newest runs"),
                c.failed_logs(""),
            ),
        ),
    ),
)

_W = f'{c.DEFINITION}, kind="workflow"'
_OF = 'source=~"$source", namespace=~"$namespace", workflow=~"$name|$workflow"'

WORKFLOW = Dashboard(
    "otel-events-workflow",
    "otel_events / Workflow",
    "One workflow over time: how often it runs, how it ends, how long it takes, and which of its tasks are to blame.",
    c.chained("workflow"),
    (
        Row(
            "Runs",
            (
                c.outcomes(_W),
                c.failure_ratio(_W, "name"),
                c.durations(_W),
                c.queueing(_W),
                Panel(
                    "Duration against its own history",
                    "95 % of successful runs of the last hour, and the usual of the last week (recording rules).",
                    (
                        Query(f"max by (name) (otel_events:run_duration_seconds:p95_1h{{{_W}}})", "p95 {{name}}"),
                        Query(f"max by (name) (otel_events:run_duration_seconds:p95_usual{{{_W}}})", "usual {{name}}"),
                    ),
                    unit="s",
                ),
                Panel(
                    "Since the last success",
                    "Time since a run of the workflow last succeeded.",
                    (
                        Query(
                            f"time() - max by (name) (otel_events_last_success_timestamp_seconds{{{_W}}})",
                            "{{name}}",
                        ),
                    ),
                    unit="s",
                    warn=93600,
                    crit=172800,
                ),
            ),
        ),
        Row(
            "Its tasks",
            (
                Panel(
                    "Tasks, by how long they take",
                    "Mean duration of the finished runs of each task over the time shown; the slowest ten.",
                    (
                        Query(
                            f'topk(10, sum by ({c.TASK}) (increase(otel_events_run_duration_seconds_sum{{{_OF}, kind="task"}}[$__range]))'
                            f' / (sum by ({c.TASK}) (increase(otel_events_run_duration_seconds_count{{{_OF}, kind="task"}}[$__range])) > 0))',
                            "{{name}}",
                            instant=True,
                        ),
                    ),
                    type="bargauge",
                    unit="s",
                    data_links=(c.TASK_LINK,),
                ),
                c.worst(f'{_OF}, kind="task"', c.TASK, c.TASK_LINK, "Tasks that fail most"),
            ),
        ),
        Row("Under way", (c.active(_W), c.oldest(_W, "name, phase"))),
        Row(
            "Traces and logs",
            (
                c.recent_traces(
                    '{ span.cicd.pipeline.name =~ "$name" && span.otel_events.kind = "workflow" }', "Newest runs"
                ),
                c.failed_logs(' | cicd_pipeline_name=~"$name"'),
            ),
        ),
    ),
)

_T = f'{c.DEFINITION}, kind="task"'

TASK = Dashboard(
    "otel-events-task",
    "otel_events / Task",
    "One task over time: attempts and retries, duration, queue, cache, and what it reports.",
    c.chained("task"),
    (
        Row(
            "Attempts",
            (
                c.attempts(_T),
                c.retries(_T),
                c.durations(_T),
                c.queueing(_T),
                c.failure_ratio(_T, "name"),
                c.cache(_T),
            ),
        ),
        Row(
            "What it reports",
            (
                Panel(
                    "Stats that are gauges",
                    "The last value of each gauge and scalar that the task reports.",
                    (
                        Query(
                            f'max by (__name__, name) ({{__name__=~"otel_events_stat_.+", __name__!~".+_(total|bucket|sum|count)", {c.DEFINITION}}})',
                            "{{__name__}} {{name}}",
                        ),
                    ),
                ),
                Panel(
                    "Stats that are counters",
                    "Increase a second of each counter that the task reports.",
                    (
                        Query(
                            f'sum by (stat, name) (rate(label_replace({{__name__=~"otel_events_stat_.+_total", {c.DEFINITION}}}, '
                            f'"stat", "$1", "__name__", "otel_events_stat_(.+)_total")[{R}:]))',
                            "{{name}} {{stat}}",
                        ),
                    ),
                    unit="ops",
                ),
            ),
        ),
        Row(
            "Traces and logs",
            (
                c.recent_traces('{ span.cicd.pipeline.task.name =~ "$name" }', "Newest attempts"),
                c.failed_logs(' | cicd_pipeline_task_name=~"$name"'),
            ),
        ),
    ),
    failures=True,
)

RUN = Dashboard(
    "otel-events-run",
    "otel_events / Run",
    "One run by its trace id: the trace, every phase change and log line in order, and what it reported.",
    (Variable("trace_id", "Trace id", text=True),),
    (
        Row(
            "Trace",
            (
                Panel(
                    "Trace",
                    "The span tree: a span for each attempt, phase changes as its events, links to retries.",
                    (Query("$trace_id", backend="tempo"),),
                    type="traces",
                    width=24,
                    height=16,
                ),
            ),
        ),
        Row(
            "Logs",
            (
                Panel(
                    "Phase changes",
                    "What became of each attempt, as its log events tell, at once and before the span is sent.",
                    (
                        Query(
                            f'{{service_name="otel_events"}} | trace_id="$trace_id" | {c.CHANGE}',
                            backend="loki",
                        ),
                    ),
                    type="logs",
                    width=24,
                    height=10,
                ),
                Panel(
                    "All log lines",
                    "Every log record of the run, lines of its tasks too.",
                    (Query('{service_name=~".+"} | trace_id="$trace_id"', backend="loki"),),
                    type="logs",
                    width=24,
                    height=12,
                ),
                Panel(
                    "Reports and late stats",
                    "Decks, plots, images, tables and artifacts of the run: where they are.",
                    (
                        Query(
                            '{service_name="otel_events"} | trace_id="$trace_id" | otel_events_report_name!="" or otel_events_stat_name!=""',
                            backend="loki",
                        ),
                    ),
                    type="logs",
                    width=24,
                    height=8,
                    fault=True,
                ),
            ),
        ),
    ),
    failures=False,
)

QUEUE = Dashboard(
    "otel-events-queue",
    "otel_events / Queue and capacity",
    "What waits, for how long, and what is stuck.",
    c.chained(""),
    (
        Row(
            "Waiting",
            (
                Panel(
                    "Waiting now, by source",
                    "Attempts that are pending or paused.",
                    (
                        Query(
                            f'sum by (source, phase) (otel_events_runs_active{{{c.DEFINITION}, phase=~"pending|paused"}})',
                            "{{source}} {{phase}}",
                        ),
                    ),
                    stacked=True,
                ),
                c.queueing(c.DEFINITION),
                Panel(
                    "Queue time against its own history",
                    "95 % of the runs of the last hour, and the usual of the last week (recording rules).",
                    (
                        Query(
                            'max by (source, workflow) (otel_events:queue_duration_seconds:p95_1h{source=~"$source", namespace=~"$namespace", workflow=~"$workflow"})',
                            "p95 {{source}} {{workflow}}",
                        ),
                        Query(
                            'max by (source, workflow) (otel_events:queue_duration_seconds:p95_usual{source=~"$source", namespace=~"$namespace", workflow=~"$workflow"})',
                            "usual {{source}} {{workflow}}",
                        ),
                    ),
                    unit="s",
                ),
                Panel(
                    "Queue time, distribution",
                    "How many runs waited how long.",
                    (
                        Query(
                            f"sum by (le) (increase(otel_events_queue_duration_seconds_bucket{{{c.DEFINITION}}}[{R}]))",
                            "{{le}}",
                        ),
                    ),
                    type="heatmap",
                ),
            ),
        ),
        Row(
            "Capacity",
            (
                c.active(c.DEFINITION),
                c.oldest(c.DEFINITION),
                Panel(
                    "Begun against ended",
                    "Attempts ended a second. Read with what is under way: equal lines of work keep the queue short.",
                    (
                        Query(
                            f"sum by (source) (rate(otel_events_attempts_total{{{c.DEFINITION}}}[{R}]))",
                            "ended {{source}}",
                        ),
                    ),
                    unit="ops",
                ),
                Panel(
                    "Work in progress",
                    "Time that finished runs spent running, a second of the clock: how many were at work at once, on average.",
                    (
                        Query(
                            f"sum by (source) (rate(otel_events_run_duration_seconds_sum{{{c.DEFINITION}}}[{R}]))",
                            "{{source}}",
                        ),
                    ),
                ),
            ),
        ),
    ),
)
