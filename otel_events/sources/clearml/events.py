"""Calls of ``events.add`` and ``events.add_batch``: what tasks and models report.

A batch has many points of few series, so all points of a series in a batch become one stat: the last value (by
iteration, then time), with the number of points, the least and the greatest. Single points are in the store only.
"""

from __future__ import annotations

from collections import Counter
from hashlib import blake2b
from math import isfinite
from typing import Any

import msgspec

from otel_events.model.event import AnyEvent, Log, Report, Run, Scalar, Stat
from otel_events.sources.clearml.fields import LONGEST, Events, digest, inside, model_run, nanoseconds, string, task_run

SINGLE_VALUE = -(2**31)
"""The iteration that ``report_single_value`` sends; it is no step of a series."""
LONGEST_LINE = 65_536
"""Characters of a console message; a longer one is cut, and an attribute has its length."""
LONGEST_CONTENT = 262_144
"""Characters of a plot or vector in its report; a longer one is left out, and an attribute has its length."""
PLOTLY = "application/vnd.plotly.v1+json"
COUNT = "clearml.scalars"
"""Name of the counter stat: how many points of a task were received."""

SEVERITIES = {"trace": 1, "debug": 5, "info": 9, "warn": 13, "warning": 13, "error": 17, "critical": 21, "fatal": 21}
IMAGES = {
    **{"jpg": "image/jpeg", "jpeg": "image/jpeg", "png": "image/png", "gif": "image/gif", "svg": "image/svg+xml"},
    **{"bmp": "image/bmp", "webp": "image/webp", "html": "text/html", "mp4": "video/mp4", "wav": "audio/wav"},
}
"""Ending of a debug sample's URL -> media type."""


class Reported(msgspec.Struct, gc=False):
    """One event as it came. Fields may have any type: a value of the wrong type is ignored where it is read."""

    type: Any = None
    task: Any = None
    model: Any = None
    model_event: Any = False
    timestamp: Any = None
    ts: Any = None
    iter: Any = None
    metric: Any = None
    variant: Any = None
    value: Any = None
    values: Any = None
    msg: Any = None
    level: Any = None
    worker: Any = None
    url: Any = None
    key: Any = None
    plot_str: Any = None


SeriesKey = tuple[str, bool, str, str]
"""(id, whether it is a model's, metric, variant)"""


class _Series(msgspec.Struct, gc=False):
    """The points of one (owner, metric, variant) in one batch."""

    count: int
    at: tuple[int, int]
    """(iteration, time in ns) of the last point; one without an iteration counts as a single value."""
    value: float
    low: float
    high: float


class Batch:
    """Makes the events of one call."""

    def __init__(self, received: int, content: bytes, owner: str = "", worker: str = "") -> None:
        """
        Args:
            received: The time (ns) of events that have none.
            content: The call's body; a digest of it is in the ids of stats.
            owner: The task of an offline session, to which all events belong.
            worker: For log lines that name none.
        """
        self._received, self._content, self._owner, self._worker = received, content, owner, worker
        self._series: dict[SeriesKey, _Series] = {}
        self._reports: Events = []
        self._lines: Counter[str] = Counter()

    def decode(self, events: list[Reported]) -> Events:
        """The events: stats first, then logs and reports in the order of the call."""
        for event in events:
            kind = "training_stats_scalar" if event.type == "training_stats_scalar" else self._kind(event)
            if type(event.task) is not str and not self._named(event):
                continue  # the server has refused it, which its answer says
            if kind == "training_stats_scalar":
                self._point(event)
            elif kind == "log":
                self._reports.append(self._line(event))
            elif kind in _REPORTS:
                self._reports.append(self._report(event, kind))
        return self._stats() + self._reports

    def _kind(self, event: Reported) -> str:
        return event.type.replace(" ", "_") if type(event.type) is str else ""

    def _named(self, event: Reported) -> bool:
        """A model's event may have its id elsewhere."""
        if event.model_event and type(event.model) is str:
            event.task = event.model
        return type(event.task) is str

    def _point(self, event: Reported) -> None:
        value = _first(event.value, event.values)
        if (type(value) is not float and type(value) is not int) or not _finite(value):
            return
        key = (event.task, bool(event.model_event), _name(event.metric), _name(event.variant))
        step = _step(event.iter)
        at = (SINGLE_VALUE if step is None else step, self._time(event))  # orders points: later ones win
        series = self._series.get(key)
        if series is None:
            self._series[key] = _Series(1, at, value, value, value)
            return
        series.count += 1
        if at >= series.at:
            series.at, series.value = at, value
        if value < series.low:
            series.low = value
        elif value > series.high:
            series.high = value

    def _time(self, event: Reported) -> int:
        return nanoseconds(_first(event.timestamp, event.ts)) or self._received

    def _run(self, id_: str, model: bool) -> Run:
        return task_run(self._owner or id_) if self._owner or not model else model_run(id_)

    def _stats(self) -> Events:
        if not self._series:
            return []
        whole = blake2b(self._content, digest_size=8).hexdigest()
        stats: Events = [self._stat(whole, key, series) for key, series in self._series.items()]
        return stats + self._counted(whole)

    def _stat(self, whole: str, key: SeriesKey, series: _Series) -> Stat:
        """``whole`` is the digest of the call: a call that is sent again gives the same id, another call another."""
        id_, model, metric, variant = key
        attributes: dict[str, Scalar] = {
            "clearml.metric": metric,
            "clearml.variant": variant,
            "clearml.count": series.count,
            "clearml.min": series.low,
            "clearml.max": series.high,
        }
        if model:
            attributes["clearml.model.id"] = id_
        step, time = series.at
        return Stat(
            id=f"{id_}:scalar:{digest(whole, *key)}",
            time=time,
            run=self._run(id_, model),
            attributes=attributes,
            name=_title(metric, variant),
            value=series.value,
            type="scalar",
            step=None if step == SINGLE_VALUE else step,
            tags={"metric": metric, "variant": variant},
        )

    def _counted(self, whole: str) -> Events:
        """One counter for each task and model."""
        counts: Counter[tuple[str, bool]] = Counter()
        times: dict[tuple[str, bool], int] = {}
        for (id_, model, _, _), series in self._series.items():
            counts[id_, model] += series.count
            times[id_, model] = max(times.get((id_, model), 0), series.at[1])
        return [
            Stat(
                id=f"{id_}:scalars:{digest(whole, id_, model)}",
                time=times[id_, model],
                run=self._run(id_, model),
                name=COUNT,
                value=count,
                type="counter",
            )
            for (id_, model), count in counts.items()
        ]

    def _line(self, event: Reported) -> AnyEvent:
        text = event.msg if type(event.msg) is str else ""
        time, level = self._time(event), string(event.level, 32)
        worker = string(event.worker, 256) or self._worker
        attributes: dict[str, Scalar] = {"clearml.worker": worker} if worker else {}
        if len(text) > LONGEST_LINE:
            attributes["clearml.log.length"] = len(text)
        # Equal lines of one batch are numbered: a script may print the same text twice within a millisecond.
        same = digest(event.task, time, worker, level, text)
        self._lines[same] += 1
        return Log(
            id=f"{event.task}:log:{same}:{self._lines[same]}",
            time=time,
            run=self._run(event.task, bool(event.model_event)),
            attributes=attributes,
            message=text[:LONGEST_LINE],
            severity=SEVERITIES.get(level.lower(), 9),
            logger="clearml.console",
        )

    def _report(self, event: Reported, kind: str) -> AnyEvent:
        metric, variant = _name(event.metric), _name(event.variant)
        time, step, url = self._time(event), _step(event.iter), inside(string(event.url), self._owner)
        content = _content(event, kind)
        media_type = _REPORTS[kind] or IMAGES.get(url.partition("?")[0].rpartition(".")[2].lower(), "image/*")
        attributes: dict[str, Scalar] = {"clearml.metric": metric, "clearml.variant": variant}
        if event.model_event:
            attributes["clearml.model.id"] = event.task
        if len(content) > LONGEST_CONTENT:
            attributes["clearml.report.length"] = len(content)
        key = string(event.key)
        return Report(
            id=f"{event.task}:{kind}:{digest(metric, variant, step, key, time, url, content)}",
            time=time,
            run=self._run(event.task, bool(event.model_event)),
            attributes=attributes,
            name=_title(metric, variant),
            media_type=media_type,
            uri=url,
            content=content if len(content) <= LONGEST_CONTENT else "",
            step=None if step == SINGLE_VALUE else step,
        )


_REPORTS = {"plot": PLOTLY, "training_debug_image": "", "training_stats_vector": "application/json"}
"""Type -> media type; "" where the URL's ending says it."""


def _content(event: Reported, kind: str) -> str:
    if kind == "plot":
        return event.plot_str if type(event.plot_str) is str else ""
    if kind == "training_stats_vector":
        values = _first(event.values, event.value)
        return msgspec.json.encode(values).decode() if type(values) is list else ""
    return ""


def _first(value: Any, instead: Any) -> Any:
    """The value, unless it is null, or one for which JSON has null: NaN and the infinities come from parsed calls."""
    return instead if value is None or (type(value) is float and not isfinite(value)) else value


def _finite(value: float) -> bool:
    try:
        return isfinite(value)
    except OverflowError:  # an integer beyond a float
        return False


def _title(metric: str, variant: str) -> str:
    return f"{metric}/{variant}" if variant else metric


def _name(value: object) -> str:
    return value if type(value) is str and len(value) <= LONGEST else string(value)


def _step(value: object) -> int | None:
    """The iteration, as the server casts it; None where there is none within 64 bits."""
    if type(value) is not int:
        if not isinstance(value, int | float | str):
            return None
        try:
            value = int(value[:32] if isinstance(value, str) else value)
        except (ValueError, OverflowError):
            return None
    return value if -(2**63) <= value < 2**63 else None
