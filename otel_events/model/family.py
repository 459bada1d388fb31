"""What a metric family is: the shape of the rows in the tables of the core and of the sources."""

from __future__ import annotations

from typing import Literal

import msgspec

MetricType = Literal["counter", "gauge", "histogram"]

COMMON = ("source", "namespace", "workflow", "kind", "name")
"""Labels that every family about runs has."""

CAP = 2000
"""Series (label sets) of one family, as the OTel SDKs have it by default; the series of OTHER come on top."""


class Family(msgspec.Struct, frozen=True):
    """One metric family.

    Args:
        name: full Prometheus name, unit word and ``_total`` included.
        type: counter, gauge or histogram.
        help: one sentence.
        unit: UCUM, what OTLP sends; "" for none.
        labels: label names, in order.
        buckets: upper bounds of a histogram, +Inf left out.
        cap: series beyond which the rest is counted as ``__other__``.
    """

    name: str
    type: MetricType
    help: str
    unit: str = ""
    labels: tuple[str, ...] = COMMON
    buckets: tuple[float, ...] = ()
    cap: int = CAP
