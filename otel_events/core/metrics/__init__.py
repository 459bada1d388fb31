"""The metric families (design, section 6): the table, and what counts into it.

families.py is the table. recording.py has ``Metrics``, which ties together what counts (runs.py: what runs do;
internal.py: what this process does) and what reads. registry.py holds the series of all families, series.py the series
of one family and their cap, stats.py the families of stats. text.py makes names and label values safe.
"""

from __future__ import annotations

from otel_events.core.metrics.families import COMMON, ENDINGS, INCOMPLETE, Family, Labels, all_families, families_table
from otel_events.core.metrics.recording import Active, Metrics

__all__ = [
    "COMMON",
    "ENDINGS",
    "INCOMPLETE",
    "Active",
    "Family",
    "Labels",
    "Metrics",
    "all_families",
    "families_table",
]
