"""What a dashboard is: rows of panels, panels of queries. Everything here is data; `generate` makes JSON of it."""

from __future__ import annotations

from typing import Literal

import msgspec

Backend = Literal["prometheus", "tempo", "loki"]
PanelType = Literal["timeseries", "stat", "table", "bargauge", "heatmap", "logs", "traces", "state-timeline"]


class Query(msgspec.Struct, frozen=True):
    """One query. ``legend``: Grafana's legend format; ``exemplars``: show those of the histogram; ``instant``: one value."""

    expr: str
    legend: str = ""
    backend: Backend = "prometheus"
    exemplars: bool = False
    instant: bool = False


class Panel(msgspec.Struct, frozen=True):
    """One panel. ``unit`` is Grafana's name of it; ``warn`` and ``crit`` colour values from there on (0: no threshold).

    ``fault``: empty while all is well; the proof shows it non-empty in a run with faults. ``links``: title -> path, shown on
    the panel; ``data_links``: title -> path with Grafana's field variables, shown on a value.
    """

    title: str
    description: str
    queries: tuple[Query, ...]
    type: PanelType = "timeseries"
    unit: str = "short"
    width: int = 12
    height: int = 8
    warn: float = 0
    crit: float = 0
    stacked: bool = False
    fault: bool = False
    data_links: tuple[tuple[str, str], ...] = ()


class Row(msgspec.Struct, frozen=True):
    title: str
    panels: tuple[Panel, ...]


class Variable(msgspec.Struct, frozen=True):
    """A drop-down over a label's values; ``of``: the metric with the earlier variables' matchers; "" for a text box."""

    name: str
    label: str
    of: str = ""
    text: bool = False


class Dashboard(msgspec.Struct, frozen=True):
    """``failures``: annotate the times at which runs of ``kind`` ended badly; ``source``: fixed for the dashboard of one
    source."""

    uid: str
    title: str
    description: str
    variables: tuple[Variable, ...]
    rows: tuple[Row, ...]
    source: str = ""
    failures: bool = True
    kind: str = "workflow"
    since: str = "now-6h"
