"""The one table of metric families: what each is called, counts and is labelled with.

Names are full Prometheus names, unit word and ``_total`` included. Each is chosen so that OTLP -> Prometheus
translation (prometheus/otlptranslator, every strategy) gives the name back unchanged: scrape, collector and Prometheus'
own OTLP receiver show one name. Hence no gauge of unit "1", and the unit word stands last (before ``_total``).
"""

from __future__ import annotations

from collections.abc import Mapping

from otel_events.model.event import OUTCOMES
from otel_events.model.family import CAP as CAP
from otel_events.model.family import COMMON as COMMON
from otel_events.model.family import Family as Family
from otel_events.model.family import MetricType as MetricType
from otel_events.model.traits import Traits

Labels = tuple[str, str, str, str, str]
"""Values of COMMON, made safe as label values."""

OTHER = "__other__"
"""Value of every label but ``source`` in the one series that takes what is past a family's cap (law 7)."""

STAT_CAP = 200
"""How many families stats may make."""

INCOMPLETE = "incomplete"
"""The ``outcome`` label of attempts and runs that were closed without an outcome."""

ENDINGS = (*OUTCOMES, INCOMPLETE)
"""Values of ``outcome`` whose counters start at 0 when a definition is first seen."""

SIGNALS = ("traces", "metrics", "logs")
LIMITS = ("journal_full_unsent", "disk_full", "queue_full", "retention")
"""Reasons to drop events that every process can have."""
REFUSALS = ("conflict", "families", "name", "value")
"""Why no family takes a stat: another type has its name; there are STAT_CAP families already; its name has no letter or
digit; its value is not finite, or below 0, and it is no gauge."""

NANO = 1_000_000_000

SECONDS = (
    *(0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
    *(60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0, 21600.0, 43200.0, 86400.0),
)
"""Upper bounds of durations: 5 ms (a cached task) to a day (a training), 2 to 5 times apart, at round human times."""

MAGNITUDES = tuple(float(f"{digit}e{power}") for power in range(-3, 7) for digit in (1, 3))
"""Upper bounds of stats that are no durations, of which nothing is known: two for each power of ten."""


def _counter(name: str, text: str, unit: str, *labels: str, common: bool = True) -> Family:
    return Family(name, "counter", text, unit, (*COMMON, *labels) if common else labels)


def _gauge(name: str, text: str, unit: str, *labels: str, common: bool = True) -> Family:
    return Family(name, "gauge", text, unit, (*COMMON, *labels) if common else labels)


def _seconds(name: str, text: str, *labels: str) -> Family:
    return Family(name, "histogram", text, "s", (*COMMON, *labels), SECONDS)


def _internal(name: str, text: str, unit: str, *labels: str) -> Family:
    return _counter(name, text, unit, *labels, common=False)


RUNS = _counter("otel_events_runs_total", "Finished runs, after retries.", "{run}", "outcome")
ATTEMPTS = _counter(
    "otel_events_attempts_total",
    "Ended attempts; error_kind is user, system or empty.",
    "{attempt}",
    "outcome",
    "error_kind",
)
RUN_DURATION = _seconds(
    "otel_events_run_duration_seconds", "Time from the first running of a finished run to its end.", "outcome"
)
QUEUE_DURATION = _seconds(
    "otel_events_queue_duration_seconds", "Time from the creation of a finished run to its first running."
)
ACTIVE = _gauge("otel_events_runs_active", "Runs under way, by the phase they are in.", "{run}", "phase")
OLDEST = _gauge(
    "otel_events_oldest_run_start_time_seconds",
    "Unix time at which the oldest of the runs now in the phase began; finds stuck runs.",
    "s",
    "phase",
)
LAST_SUCCESS = _gauge(
    "otel_events_last_success_timestamp_seconds", "Unix time at which a run last ended as succeeded.", "s"
)
CACHE = _counter("otel_events_cache_total", "Ended attempts that told a cache status.", "{attempt}", "status")

RECEIVED = _internal("otel_events_records_received_total", "Records taken in, decodable or not.", "{record}", "source")
ACCEPTED = _internal("otel_events_events_accepted_total", "Events new to the journal.", "{event}", "source")
DUPLICATE = _internal(
    "otel_events_events_duplicate_total", "Events that were in the journal already.", "{event}", "source"
)
LATE = _internal("otel_events_events_late_total", "Events after their attempt's span went out.", "{event}", "source")
DEAD = _internal(
    "otel_events_dead_letters_total", "Records that could not be decoded, kept verbatim.", "{record}", "source"
)
DROPPED = _internal("otel_events_dropped_total", "Events let go by a stated limit of the journal.", "{event}", "reason")
ILLEGAL = _internal(
    "otel_events_illegal_transitions_total", "Phase changes that no source should make.", "{transition}"
)
SENT = _internal("otel_events_export_sent_total", "Items that the collector took.", "{item}", "signal")
FAILED = _internal("otel_events_export_failed_total", "Items that the collector refused for good.", "{item}", "signal")
RETRIED = _internal("otel_events_export_retried_total", "Requests sent once more.", "{request}", "signal")
JOURNAL_EVENTS = _gauge("otel_events_journal_events", "Events in the journal.", "{event}", common=False)
JOURNAL_BYTES = _gauge("otel_events_journal_bytes", "Size of the journal on disk.", "By", common=False)
UNACKED = _gauge(
    "otel_events_journal_oldest_unacked_seconds",
    "Age of the oldest event whose telemetry the collector has not taken; 0 when all is taken.",
    "s",
    common=False,
)
OVERFLOW = _internal(
    "otel_events_label_overflow_total", "Measurements counted under __other__ past the family's cap.", "", "family"
)
REFUSED = _internal("otel_events_refused_stats_total", "Stats that are in no family, by why.", "{stat}", "reason")
FAULTS = _internal(
    "otel_events_faults_total",
    "What failed in a user's process beside the user's own work, and was passed over.",
    "{fault}",
    "what",
)
BUILD = _gauge("otel_events_build_info", "Always 1; the labels say what runs.", "", "version", "python", common=False)

OF_RUNS: tuple[Family, ...] = (RUNS, ATTEMPTS, RUN_DURATION, QUEUE_DURATION, ACTIVE, OLDEST, LAST_SUCCESS, CACHE)
OF_THE_PROCESS: tuple[Family, ...] = (
    *(RECEIVED, ACCEPTED, DUPLICATE, LATE, DEAD, DROPPED, ILLEGAL, SENT, FAILED, RETRIED),
    *(JOURNAL_EVENTS, JOURNAL_BYTES, UNACKED, OVERFLOW, REFUSED, FAULTS, BUILD),
)


def all_families(sources: Mapping[str, Traits]) -> tuple[Family, ...]:
    """The table of all families but those of stats, in the order in which they are shown.

    Args:
        sources: Traits by source. The families that sources add stand between those of runs and our own.

    Returns:
        The families. Those of stats follow them, sorted by name.
    """
    return (*OF_RUNS, *(family for traits in sources.values() for family in traits.families()), *OF_THE_PROCESS)


BY_SOURCE = (RECEIVED, ACCEPTED, DUPLICATE, LATE, DEAD)
"""Counters that start at 0 together at the first record or event of a source."""


def families_table(sources: Mapping[str, Traits]) -> str:
    """``all_families`` as a Markdown table, with one row for all families of stats."""
    rows = [_row(family) for family in all_families(sources)]
    rows.append(
        "| `otel_events_stat_{name}[_{unit}][_total]` | by the stat's type | its own "
        f"| {_code(COMMON)}, the stat's allow-listed tags | What tasks report. Counter: sum; gauge, scalar: last; "
        " histogram; timer: a histogram of seconds. |"
    )
    heads = "| family | type | unit | labels | what it says |\n| --- | --- | --- | --- | --- |\n"
    return heads + "".join(f"{row}\n" for row in rows)


def _row(family: Family) -> str:
    unit = f"`{family.unit}`" if family.unit else "-"
    return f"| `{family.name}` | {family.type} | {unit} | {_code(family.labels) or '-'} | {family.help} |"


def _code(labels: tuple[str, ...]) -> str:
    return ", ".join(f"`{label}`" for label in labels)
