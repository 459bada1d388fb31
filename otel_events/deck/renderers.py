"""How an object shows in a deck: a table from types to functions. Types are looked up by name, so that no library is
imported only to test for its types.

| what | shows as |
|---|---|
| a string | its HTML, shut in a frame |
| Text, Markdown | text; Markdown, in which HTML is text |
| numbers, None, and everything else | text |
| a list of dicts; a dict | a table |
| DataFrame and Series of pandas and polars | a table, its first rows and columns |
| a figure (or its axes) of matplotlib | an image |
| a figure of plotly | itself, in a frame that runs plotly and nothing else |
| an object with ``_repr_html_`` | its HTML, shut in a frame |

``register(kind, renderer)`` adds one of the user's. Text that looks like a secret is redacted in all of them.
"""

from __future__ import annotations

import base64
import functools
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from reprlib import Repr
from typing import Any

import msgspec

from otel_events.core import redact
from otel_events.deck.parts import (
    CELL,
    COLUMNS,
    LARGEST,
    LONGEST,
    ROWS,
    Failure,
    Foreign,
    Part,
    Picture,
    Plain,
    Plot,
    Prose,
    Table,
    cut,
    too_large,
)
from otel_events.inprocess.faults import fault

FAULT = "a deck's renderer"
Renderer = Callable[[Any], Any]


class Text(msgspec.Struct, frozen=True):
    """Text that is no HTML."""

    text: str


class Markdown(msgspec.Struct, frozen=True):
    """Markdown (CommonMark and tables); HTML in it is text."""

    text: str


_own: dict[type, Renderer] = {}


def register(kind: object, renderer: Renderer) -> None:
    """Show objects of a class by a function of the user's.

    Args:
        kind: The class; classes that are derived from it show the same way.
        renderer: A function of an object. It returns HTML, or anything else that can be put into a deck (``Text``,
            ``Markdown``, a figure, a list of dicts ...). It replaces the one that was registered before.

    Raises:
        TypeError: ``kind`` is no class, or ``renderer`` cannot be called.

    >>> class Loss(float): pass
    >>> register(Loss, lambda loss: Text(f"{loss:.2f}"))
    >>> render(Loss(0.5)).text
    '0.50'
    """
    if not (isinstance(kind, type) and callable(renderer)):
        raise TypeError("register(kind, renderer) takes a class, and a function of its instances")
    _own[kind] = renderer


def render(content: Any) -> Part:
    """The part that shows ``content``. Raises nothing: where a renderer fails, that is counted and logged once, and the
    class of its error shows."""
    try:
        return _bounded(_rendered(content))
    except Exception as error:  # noqa: BLE001  # objects and renderers of the user's; the task goes on
        fault(FAULT, error)
        return Failure(reason=f"could not be rendered: {type(error).__name__}")


def _rendered(content: Any) -> Part:
    if isinstance(content, Part):
        return content
    own = next((_own[kind] for kind in type(content).__mro__ if kind in _own), None)
    if own is not None:
        content = own(content)
        if isinstance(content, Part):
            return content
    return renderer_of(type(content))(content)


def renderer_of(kind: type) -> Callable[[Any], Part]:
    """The renderer of a type: that of the nearest base that has one, else of its ``_repr_html_``, else text."""
    for base in kind.__mro__:
        if renderer := RENDERERS.get((base.__module__.partition(".")[0], base.__qualname__)):
            return renderer
    return _offered if callable(getattr(kind, "_repr_html_", None)) else _text


def is_rich(value: Any) -> bool:
    """Whether a value shows as more than a line of text."""
    kind = type(value)
    if kind is list:
        return _is_records(value)
    return kind not in _SIMPLE and (any(base in _own for base in kind.__mro__) or renderer_of(kind) is not _text)


_SIMPLE = (str, bytes, int, float, bool, type(None), dict, tuple, set, frozenset)


def _bounded(part: Part) -> Part:
    match part:
        case Foreign(html=text) | Prose(html=text) | Plot(json=text) | Picture(uri=text) if len(text) > LARGEST:
            return too_large(type(part).__name__, len(text))
        case Plain(text=text) if len(text) > LONGEST:
            part.text, part.note = cut(text, LONGEST), f"The first {LONGEST:,} of {len(text):,} characters."
    return part


# --- text ------------------------------------------------------------------------------------------------------------


class _Short(Repr):
    """``repr`` within bounds, of strings that are redacted before they are cut."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxother, self.maxlong = 6, CELL, 200
        self.maxlist = self.maxtuple = self.maxset = self.maxfrozenset = self.maxdeque = self.maxarray = 50
        self.maxdict, self.maxstring = 50, CELL

    def repr_str(self, x: str, level: int) -> str:
        """A string is redacted before it is cut, so that no half of a secret is left."""
        return super().repr_str(redact.text(x[:LONGEST]), level)


def in_words(value: Any) -> str:
    """A value as text within bounds, what looks like a secret redacted."""
    if isinstance(value, str):
        return redact.text(value[:LONGEST])
    return redact.text(_Short().repr(value))


def named(name: str, value: Any) -> str:
    """A value as a cell of a table, redacted by its name too."""
    if isinstance(value, str):
        return cut(str(redact.attributes({name: value[:LONGEST]})[name]), CELL)
    if isinstance(value, bool | int | float) or value is None:
        return cut(str(value), CELL)
    words = in_words(value)
    return cut(str(redact.attributes({name: words})[name]), CELL)


def _text(content: Any) -> Part:
    return Plain(text=in_words(content))


def _plain(content: Text) -> Part:
    return Plain(text=redact.text(content.text))


def _html(content: str) -> Part:
    return Foreign(html=redact.text(content)) if len(content) <= LARGEST else too_large("HTML", len(content))


def _offered(content: Any) -> Part:
    html = content._repr_html_()
    return _html(html) if isinstance(html, str) else _text(content)


def _markdown(content: Markdown) -> Part:
    text = redact.text(content.text[:LONGEST])
    note = f"The first {LONGEST:,} of {len(content.text):,} characters." if len(content.text) > LONGEST else ""
    return Prose(html=str(_parser().render(text)), note=note)


@functools.cache
def _parser() -> Any:
    from markdown_it import MarkdownIt  # 20 ms that only decks with Markdown need to pay

    # Images are left out: none but data URIs would load, and Picture shows those.
    return MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")


# --- tables ----------------------------------------------------------------------------------------------------------


def table(heads: Sequence[str], rows: Sequence[Sequence[Any]], total: tuple[int, int] | None = None) -> Table:
    """A table of any values; ``total``: (rows, columns) that there are, where these are only the first."""
    shown = [tuple(row[:COLUMNS]) for row in rows[:ROWS]]
    names = [cut(str(head), 200) for head in heads[:COLUMNS]]
    numeric = [_numeric([row[place] for row in shown if place < len(row)]) for place in range(len(names))]
    cells = [[named(head, value) for head, value in zip(names, row, strict=False)] for row in shown]
    return Table(heads=names, rows=cells, numeric=numeric, note=_note(total or (len(rows), len(heads))))


def _numeric(column: Sequence[Any]) -> bool:
    numbers = [value for value in column if value is not None]
    return bool(numbers) and all(hasattr(value, "__float__") and not isinstance(value, bool) for value in numbers)


def _note(total: tuple[int, int]) -> str:
    rows, columns = total
    if rows <= ROWS and columns <= COLUMNS:
        return ""
    some = [f"{min(rows, ROWS):,} of {rows:,} rows"] * (rows > ROWS)
    some += [f"{min(columns, COLUMNS):,} of {columns:,} columns"] * (columns > COLUMNS)
    return f"The first {' and '.join(some)}."


def _is_records(content: list[Any]) -> bool:
    return bool(content) and all(isinstance(row, Mapping) for row in content[:ROWS])


def _list(content: list[Any]) -> Part:
    if not _is_records(content):
        return _text(content)
    heads: dict[str, None] = {}
    for row in content[:ROWS]:
        heads.update(dict.fromkeys(row))
    rows = [[row.get(head, "") for head in heads] for row in content[:ROWS]]
    return table([str(head) for head in heads], rows, (len(content), len(heads)))


def _dict(content: dict[Any, Any]) -> Part:
    shown = list(content.items())[:ROWS]
    rows = [[cut(in_words(key), CELL), named(str(key), value)] for key, value in shown]
    return Table(heads=("key", "value"), rows=rows, note=_note((len(content), 2)))


def _pandas(content: Any) -> Part:
    frame = content.to_frame() if not hasattr(content, "columns") else content
    few = frame.iloc[:ROWS, :COLUMNS]
    heads = ["", *(_head(name) for name in few.columns)]
    rows = [[index, *values] for index, values in zip(few.index, _rows_of(few), strict=True)]
    shown = table(heads, [[_head(row[0]), *row[1:]] for row in rows])
    shown.note = _note(frame.shape)
    return shown


def _rows_of(frame: Any) -> Iterator[list[Any]]:
    columns = [list(frame.iloc[:, place]) for place in range(frame.shape[1])]
    return (list(values) for values in zip(*columns, strict=True)) if columns else ([] for _ in range(len(frame)))


def _head(name: Any) -> str:
    return " / ".join(str(part) for part in name) if isinstance(name, tuple) else str(name)


def _polars(content: Any) -> Part:
    frame = content.to_frame() if not hasattr(content, "columns") else content
    few = frame[:ROWS, :COLUMNS]
    shown = table([str(name) for name in few.columns], few.rows())
    shown.note = _note(frame.shape)
    return shown


# --- figures ---------------------------------------------------------------------------------------------------------


def _matplotlib(content: Any) -> Part:
    figure = content if hasattr(content, "savefig") else content.figure
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=144, bbox_inches="tight")
    data = base64.b64encode(image.getvalue()).decode()
    return Picture(uri=f"data:image/png;base64,{data}", alt=_caption(figure))


def _caption(figure: Any) -> str:
    titles = [figure.get_suptitle(), *(axes.get_title() for axes in figure.axes)]
    return cut(redact.text("; ".join(filter(None, titles))) or "figure", 500)


def _plotly(content: Any) -> Part:
    return plot(content.to_json())


HEIGHT = 450
"""Pixels of a plotly figure that does not say its own, as plotly has it."""


WITHOUT_GL = {"scattergl": "scatter", "scatterpolargl": "scatterpolar"}
"""Kinds of trace -> the same drawn as SVG: their WebGL compiles code from strings, which the page's policy forbids.
(plotly.express takes scattergl by itself from 1,000 points on.)"""


def plot(text: str) -> Part:
    """A plotly figure from its JSON. ValueError where it is none."""
    if len(text) > LARGEST:
        return too_large("a figure", len(text))
    figure = msgspec.json.decode(text)
    if not isinstance(figure, dict) or not isinstance(figure.get("data"), list):
        raise ValueError("no figure of plotly: its JSON has no list named data")
    layout = figure["layout"] if isinstance(figure.get("layout"), dict) else {}
    height = layout.get("height")
    for trace in figure["data"]:
        if isinstance(trace, dict) and trace.get("type") in WITHOUT_GL:
            trace["type"] = WITHOUT_GL[trace["type"]]
    cleaned = {"data": _clean(figure["data"]), "layout": _clean(layout)}
    tall = int(min(max(height, 100), 2000)) if isinstance(height, int | float) else HEIGHT
    return Plot(json=msgspec.json.encode(cleaned).decode(), height=tall)


def _clean(value: Any) -> Any:
    """The same with redacted texts."""
    if isinstance(value, str):
        return redact.text(value)
    if isinstance(value, list):
        return [_clean(item) for item in value] if any(isinstance(item, str | list | dict) for item in value) else value
    if isinstance(value, dict):
        return {key: _clean(item) for key, item in value.items()}
    return value


RENDERERS: dict[tuple[str, str], Callable[[Any], Part]] = {
    ("builtins", "str"): _html,
    ("otel_events", "Text"): _plain,
    ("otel_events", "Markdown"): _markdown,
    ("builtins", "list"): _list,
    ("builtins", "dict"): _dict,
    ("pandas", "DataFrame"): _pandas,
    ("pandas", "Series"): _pandas,
    ("polars", "DataFrame"): _polars,
    ("polars", "Series"): _polars,
    ("matplotlib", "Figure"): _matplotlib,
    ("matplotlib", "Axes"): _matplotlib,
    ("plotly", "BaseFigure"): _plotly,
}
"""(package, class) -> its renderer; classes that are derived from one show the same way."""
