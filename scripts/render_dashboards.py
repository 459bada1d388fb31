"""Draws every dashboard from a real Prometheus into PNG files for the docs. It is not Grafana: the panels stand where
they stand there, but matplotlib draws them, and what asks a trace or log store is left empty.

    python scripts/render_dashboards.py PROMETHEUS_URL FOLDER [--minutes 30]

Needs matplotlib, which nothing else of ours does: run it with an environment that has it.
"""

from __future__ import annotations

import argparse
import json
import re
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

ROOT = Path(__file__).resolve().parents[1]
POINTS = 240
"""Points on the time axis."""


def _seconds(value: float) -> str:
    for size, unit in ((3600, "h"), (60, "min")):
        if value >= 2 * size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.3g} s"


UNITS: dict[str, Callable[[float], str]] = {
    "s": _seconds,
    "percentunit": lambda value: f"{value:.0%}",
    "ops": lambda value: f"{value:.3g}/s",
    "bytes": lambda value: f"{value / 2**20:.3g} MiB",
}
Series = list[tuple[str, list[float], list[float]]]
"""(legend, times, values)."""


class Prometheus:
    """The queries of a dashboard, with every variable set to all."""

    def __init__(self, url: str, minutes: float) -> None:
        self.url, self.end = url.rstrip("/"), time.time()
        self.start, self.minutes = self.end - minutes * 60, minutes

    def series(self, target: dict[str, Any]) -> Series:
        expr = re.sub(r"\$__rate_interval", "1m", target["expr"])
        expr = re.sub(r"\$__range", f"{self.minutes:.0f}m", expr)
        expr = re.sub(r"\$[a-z]+", ".*", expr)
        step = (self.end - self.start) / POINTS
        asked = {"query": expr, "start": self.start, "end": self.end, "step": step}
        url = f"{self.url}/api/v1/query_range?{urllib.parse.urlencode(asked)}"
        with urllib.request.urlopen(url, timeout=60) as answer:  # noqa: S310 - the user's own Prometheus
            found = json.load(answer)["data"]["result"]
        return [(_legend(target, one["metric"]), *_points(one["values"])) for one in found]


def _points(values: Iterable[tuple[float, str]]) -> tuple[list[float], list[float]]:
    kept = [(at, float(value)) for at, value in values if value not in ("NaN", "+Inf", "-Inf")]
    return [at for at, _ in kept], [value for _, value in kept]


def _legend(target: dict[str, Any], labels: dict[str, str]) -> str:
    legend: str = target["legendFormat"]
    if legend == "__auto":
        return " ".join(value for key, value in labels.items() if key != "__name__") or "value"
    return re.sub(r"\{\{(\w+)\}\}", lambda found: labels.get(found[1], ""), legend).strip()


def draw(axes: Axes, panel: dict[str, Any], prometheus: Prometheus) -> None:
    """One panel."""
    axes.set_title(panel["title"], fontsize=8, loc="left")
    axes.tick_params(labelsize=6)
    targets = [target for target in panel["targets"] if target["datasource"]["type"] == "prometheus"]
    if not targets:
        what = {"tempo": "traces", "loki": "logs"}[panel["datasource"]["type"]]
        _words(axes, f"{what}: in Grafana only")
        return
    found = [one for target in targets for one in prometheus.series(target) if one[2]]
    if not found:
        _words(axes, "no data")
        return
    KINDS.get(panel["type"], lines)(axes, found, panel)


def _words(axes: Axes, text: str, size: int = 8) -> None:
    axes.set_axis_off()
    axes.text(0.5, 0.45, text, ha="center", va="center", fontsize=size, color="grey" if size == 8 else "black")


def lines(axes: Axes, found: Series, panel: dict[str, Any]) -> None:
    stacked = panel["fieldConfig"]["defaults"].get("custom", {}).get("stacking", {}).get("mode") == "normal"
    base: dict[float, float] = {}
    for name, times, values in found[:12]:
        below = [base.get(at, 0.0) if stacked else 0.0 for at in times]
        above = [low + value for low, value in zip(below, values, strict=True)]
        (line,) = axes.plot([at - times[0] for at in times], above, linewidth=1, label=name[:40])
        if stacked:
            axes.fill_between([at - times[0] for at in times], below, above, alpha=0.25, color=line.get_color())
            base.update(zip(times, above, strict=True))
    axes.set_xticks([])
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(lambda value, _: shown(panel, value))
    axes.legend(fontsize=5, loc="upper left", frameon=False)


def number(axes: Axes, found: Series, panel: dict[str, Any]) -> None:
    _words(axes, shown(panel, found[0][2][-1]), 18)


def bars(axes: Axes, found: Series, panel: dict[str, Any]) -> None:
    ranked = sorted(((values[-1], name) for name, _, values in found), reverse=True)[:10][::-1]
    axes.barh([name[:40] for _, name in ranked], [value for value, _ in ranked], height=0.6)
    axes.xaxis.set_major_formatter(lambda value, _: shown(panel, value))


KINDS = {"stat": number, "bargauge": bars}


def shown(panel: dict[str, Any], value: float) -> str:
    unit = UNITS.get(panel["fieldConfig"]["defaults"]["unit"])
    return unit(value) if unit else f"{value:.3g}"


def render(board: dict[str, Any], prometheus: Prometheus, path: Path) -> None:
    rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in board["panels"])
    figure = plt.figure(figsize=(14, rows * 0.36 + 0.8), dpi=80)
    grid = figure.add_gridspec(rows, 24, hspace=6, wspace=2.5, top=1 - 0.7 / figure.get_figheight(), bottom=0.01)
    figure.suptitle(f"{board['title']}  (drawn by matplotlib from a Prometheus; not Grafana)", fontsize=10)
    for panel in board["panels"]:
        if panel["type"] != "row":
            place = panel["gridPos"]
            axes = figure.add_subplot(
                grid[place["y"] : place["y"] + place["h"] - 1, place["x"] : place["x"] + place["w"]]
            )
            draw(axes, panel, prometheus)
    figure.savefig(path, bbox_inches="tight", metadata={"Software": None})
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", help="Prometheus, such as http://127.0.0.1:9090")
    parser.add_argument("folder", type=Path, help="where the PNG files go")
    parser.add_argument("--minutes", type=float, default=30, help="how far back (30)")
    options = parser.parse_args()
    mpl.use("agg")
    options.folder.mkdir(parents=True, exist_ok=True)
    for path in sorted((ROOT / "grafana" / "dashboards").glob("*.json")):
        print(f"drawing {path.stem}", flush=True)
        render(
            json.loads(path.read_text("utf-8")),
            Prometheus(options.url, options.minutes),
            options.folder / f"{path.stem}.png",
        )


if __name__ == "__main__":
    main()
