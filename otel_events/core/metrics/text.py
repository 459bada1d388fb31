"""Names and label values from foreign text: valid for Prometheus and OTLP, short, and without control characters."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from otel_events.core.metrics.families import COMMON, MAGNITUDES, SECONDS, Family
from otel_events.model.errors import ConfigError
from otel_events.model.event import Stat

MAX_VALUE = 256
"""Characters of a label value; a longer one is cut and ends in an ellipsis."""
MAX_NAME = 128
"""Characters of a stat's name that go into the name of its family."""

_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, line ends, marks that turn the direction of text, lone surrogates."""
_WORD = re.compile(r"[A-Za-z0-9]+")

UNITS: dict[str, str] = {
    **{"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"},
    **{"min": "minutes", "h": "hours", "d": "days"},
    **{"By": "bytes", "KiBy": "kibibytes", "MiBy": "mebibytes", "GiBy": "gibibytes", "TiBy": "tibibytes"},
    **{"KBy": "kilobytes", "MBy": "megabytes", "GBy": "gigabytes", "TBy": "terabytes"},
    **{"m": "meters", "V": "volts", "A": "amperes", "J": "joules", "W": "watts", "g": "grams"},
    **{"Cel": "celsius", "Hz": "hertz", "%": "percent"},
}
"""UCUM -> the word in a name, as OTLP -> Prometheus translation has it (prometheus/otlptranslator)."""
UCUM = {word: unit for unit, word in UNITS.items()}
PER = {"s": "second", "m": "minute", "h": "hour", "d": "day", "w": "week", "mo": "month", "y": "year"}
"""What may stand behind the slash, in the translators' spelling ("m" is a minute there)."""
ALIASES = {**UCUM, "sec": "s", "\u00b5s": "us", "\u03bcs": "us", "B": "By", "": "1"}
TIMES = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9, "min": 60.0, "h": 3600.0, "d": 86400.0}
"""Seconds in each unit of time."""

RESERVED = frozenset({*COMMON, "le", "quantile", "job", "instance"})
"""Labels that mean something already: those of all runs, of histograms, of a scrape."""


def clean(value: str) -> str:
    r"""Make a label value safe: cut it to MAX_VALUE characters, and show control characters as their escapes.

    >>> clean("red\x1b[0m")
    'red\\x1b[0m'
    """
    if len(value) > MAX_VALUE:
        value = value[: MAX_VALUE - 1] + "…"
    if _UNSAFE.search(value):
        value = _UNSAFE.sub(lambda character: character[0].encode("unicode_escape").decode(), value)
        return value if len(value) <= MAX_VALUE else value[: MAX_VALUE - 1] + "…"
    return value


def tag_labels(tags: Iterable[str]) -> dict[str, str]:
    """Names of labels for the tags of stats.

    Args:
        tags: Tags as the sources name them.

    Returns:
        Label name -> tag, sorted by tag.

    Raises:
        ConfigError: Two tags would be one label, or a tag would be a label that means something already, or none.

    >>> tag_labels(["data.split"])
    {'data_split': 'data.split'}
    """
    names: dict[str, str] = {}
    for tag in sorted(set(tags)):
        name = "_".join(_WORD.findall(tag))
        name = f"key_{name}" if name[:1].isdigit() else name
        if not name or name in RESERVED:
            raise ConfigError(f"stat tag {tag!r} cannot be a label: {name or 'its name'!r} is taken; leave it out")
        if name in names:
            raise ConfigError(
                f"stat tags {names[name]!r} and {tag!r} would both be the label {name!r}; allow one of them"
            )
        names[name] = tag
    return names


def seconds_per_unit(stat: Stat) -> float:
    """Factor that makes a timer's value seconds; 1 for other stats, and for a unit that is none of time."""
    return TIMES.get(_canonical(stat.unit), 1.0) if stat.type == "timer" else 1.0


def stat_family(stat: Stat, tags: tuple[str, ...], cap: int) -> Family | None:
    """The family of a stat; None where its name has no letter or digit.

    Args:
        stat: Its name, type and unit count.
        tags: Names of the labels that stats have beside the common ones.
        cap: Series that the family may have.

    >>> from otel_events.model.event import Run
    >>> run = Run("toy", "task", "id", "train", "root")
    >>> stat_family(Stat(id="e", time=1, run=run, name="rows read", value=3, type="counter"), (), 10).name
    'otel_events_stat_rows_read_total'
    """
    words = _WORD.findall(stat.name[:MAX_NAME])
    if not words:
        return None
    if stat.type == "timer":
        words = _in_seconds(words, _canonical(stat.unit))
    else:
        for unit_words in _unit_words(_canonical(stat.unit)):
            words += () if _holds(words, unit_words) else unit_words
    base = "_".join(("otel_events_stat", *(word for word in words if stat.type != "counter" or word != "total")))
    unit = UCUM.get(base.rpartition("_")[2], "")
    labels = (*COMMON, *tags)
    text = "A number that tasks report"
    match stat.type:
        case "counter":
            return Family(f"{base}_total", "counter", f"{text}: the sum.", unit, labels, cap=cap)
        case "gauge" | "scalar":
            return Family(base, "gauge", f"{text}: the last value.", unit, labels, cap=cap)
    bounds = SECONDS if "seconds" in words else MAGNITUDES
    return Family(base, "histogram", f"{text}: its distribution.", unit, labels, bounds, cap)


def _canonical(unit: str) -> str:
    unit = unit.strip()[:MAX_NAME]
    return ALIASES.get(unit, unit)


def _in_seconds(words: Sequence[str], unit: str) -> list[str]:
    """The name of a timer ends in seconds, no longer in the unit of its values."""
    stem = list(words)
    if len(stem) > 1 and unit in TIMES and stem[-1] in (unit, UNITS[unit]):
        stem.pop()
    return stem if "seconds" in stem else [*stem, "seconds"]


def _unit_words(unit: str) -> tuple[list[str], ...]:
    """Words of a unit, in parts that stay together: ``By/s`` is bytes, per second. Annotations (``{row}``) add none."""
    main, _, per = unit.partition("/")
    main, per = main.strip(), per.strip()
    parts: list[list[str]] = []
    if main not in ("", "1") and "{" not in main and "}" not in main:
        parts.append(_WORD.findall(UNITS.get(main, main)))
    if per and "{" not in per and "}" not in per and (words := _WORD.findall(PER.get(per, per))):
        parts.append(["per", *words])
    return tuple(part for part in parts if part)


def _holds(words: Sequence[str], part: Sequence[str]) -> bool:
    return any(list(words[at : at + len(part)]) == part for at in range(len(words)))


def sample_names(family: Family) -> set[str]:
    """All names that a family's samples have in the text and OpenMetrics formats; no two families may share one."""
    base = family.name.removesuffix("_total") if family.type == "counter" else family.name
    suffixes = {
        "counter": ("", "_total", "_created"),
        "gauge": ("",),
        "histogram": ("", "_bucket", "_count", "_sum", "_created"),
    }
    return {base + suffix for suffix in suffixes[family.type]}
