"""The dashboard of the gateway itself: what comes in, what goes out, what waits between."""

from __future__ import annotations

from grafana.common import RATE, chained
from grafana.model import Dashboard, Panel, Query, Row

_SOURCE = 'source=~"$source"'


def _rate(metric: str, by: str, match: str = "") -> Query:
    return Query(
        f"sum by ({by}) (rate({metric}{{{match}}}[{RATE}]))",
        " ".join(f"{{{{{label.strip()}}}}}" for label in by.split(",")),
    )


def _otelcol(title: str, text: str, metric: str, fault: bool, crit: float = 0) -> Panel:
    return Panel(
        title,
        text,
        tuple(
            Query(
                f"sum by (job, instance) (rate(otelcol_{metric}_{what}_total[{RATE}]))",
                f"{what} {{{{job}}}} {{{{instance}}}}",
            )
            for what in ("spans", "log_records", "metric_points")
        ),
        unit="ops",
        fault=fault,
        crit=crit,
    )


HEALTH = Dashboard(
    "otel-events-health",
    "otel_events / Sources and gateway health",
    "Whether what the other dashboards show is whole: sources, journal, export, collector.",
    (chained("")[0],),
    (
        Row(
            "In",
            (
                Panel(
                    "Records taken in",
                    "Records a second, decodable or not, by source.",
                    (_rate("otel_events_records_received_total", "source", _SOURCE),),
                    unit="ops",
                ),
                Panel(
                    "Events, new and repeated",
                    "Events that were new to the journal and those that were in it already.",
                    (
                        Query(
                            f"sum by (source) (rate(otel_events_events_accepted_total{{{_SOURCE}}}[{RATE}]))",
                            "new {{source}}",
                        ),
                        Query(
                            f"sum by (source) (rate(otel_events_events_duplicate_total{{{_SOURCE}}}[{RATE}]))",
                            "repeated {{source}}",
                        ),
                        Query(
                            f"sum by (source) (rate(otel_events_events_late_total{{{_SOURCE}}}[{RATE}]))",
                            "late {{source}}",
                        ),
                    ),
                    unit="ops",
                ),
                Panel(
                    "Dead letters",
                    "Records that could not be decoded, over the time shown. `otel-events runs` and the log say why.",
                    (
                        Query(
                            f"sum by (source) (increase(otel_events_dead_letters_total{{{_SOURCE}}}[$__range]))",
                            "{{source}}",
                            instant=True,
                        ),
                    ),
                    type="stat",
                    width=6,
                    height=6,
                    crit=1,
                ),
                Panel(
                    "Dropped",
                    "Events let go by a stated limit, by reason, over the time shown.",
                    (
                        Query(
                            "sum by (reason) (increase(otel_events_dropped_total[$__range]))",
                            "{{reason}}",
                            instant=True,
                        ),
                    ),
                    type="stat",
                    width=6,
                    height=6,
                    crit=1,
                ),
                Panel(
                    "Illegal transitions",
                    "Phase changes that no source should make.",
                    (Query(f"sum(rate(otel_events_illegal_transitions_total[{RATE}]))", "transitions"),),
                    unit="ops",
                    width=6,
                    height=6,
                ),
                Panel(
                    "Label overflow",
                    "Measurements counted under __other__, by family.",
                    (
                        Query(
                            "sum by (family) (increase(otel_events_label_overflow_total[$__range]))",
                            "{{family}}",
                            instant=True,
                        ),
                    ),
                    type="stat",
                    width=6,
                    height=6,
                    warn=1,
                ),
            ),
        ),
        Row(
            "Journal",
            (
                Panel(
                    "Oldest unsent event",
                    "Age of the oldest event whose telemetry the collector has not taken; 0 when all is taken.",
                    (Query("max by (job, instance) (otel_events_journal_oldest_unacked_seconds)", "{{instance}}"),),
                    unit="s",
                    width=8,
                    warn=300,
                    crit=900,
                ),
                Panel(
                    "Journal size",
                    "Bytes on disk.",
                    (Query("max by (job, instance) (otel_events_journal_bytes)", "{{instance}}"),),
                    unit="bytes",
                    width=8,
                ),
                Panel(
                    "Events in the journal",
                    "Sent ones are kept for the retention.",
                    (Query("max by (job, instance) (otel_events_journal_events)", "{{instance}}"),),
                    width=8,
                ),
            ),
        ),
        Row(
            "Out",
            (
                Panel(
                    "Sent",
                    "Items that the collector took, a second.",
                    (_rate("otel_events_export_sent_total", "signal"),),
                    unit="ops",
                    width=8,
                ),
                Panel(
                    "Refused for good",
                    "Items that the collector refused and that are not sent again.",
                    (_rate("otel_events_export_failed_total", "signal"),),
                    unit="ops",
                    width=8,
                    crit=0.001,
                ),
                Panel(
                    "Sent once more",
                    "Requests that were tried again.",
                    (_rate("otel_events_export_retried_total", "signal"),),
                    unit="ops",
                    width=8,
                ),
            ),
        ),
        Row(
            "Collector",
            (
                _otelcol("Accepted", "What its receivers took in, a second.", "receiver_accepted", fault=False),
                _otelcol(
                    "Refused",
                    "What its receivers refused, a second. A sender that does not try again loses it.",
                    "receiver_refused",
                    fault=False,
                    crit=0.001,
                ),
                Panel(
                    "Queues",
                    "How full the sending queues are.",
                    (
                        Query(
                            "max by (job, instance, exporter, data_type) (otelcol_exporter_queue_size) / max by (job, instance, exporter, data_type) (otelcol_exporter_queue_capacity)",
                            "{{job}} {{exporter}} {{data_type}}",
                        ),
                    ),
                    unit="percentunit",
                    warn=0.5,
                    crit=0.8,
                ),
                _otelcol(
                    "Failed to send",
                    "What its exporters gave up, a second: refused for good by the next hop, so lost. What is tried again is not in it.",
                    "exporter_send_failed",
                    fault=True,
                    crit=0.001,
                ),
                Panel(
                    "Targets",
                    "1 while Prometheus can scrape it.",
                    (Query('min by (job, instance) (up{job=~"otel-events.*|otelcol.*"})', "{{job}} {{instance}}"),),
                    type="state-timeline",
                    width=24,
                    height=6,
                ),
            ),
        ),
    ),
    failures=False,
)
