"""Makes panels one HTML file that needs nothing else: no network, no other file, no cookie.

What ensures that:

- everything that a template writes is escaped, unless it says ``safe``: styles and scripts of ours, and Prose
- a Content-Security-Policy under which nothing loads and only scripts of ours run, each named by its hash; frames
  inherit it (HTML, "policy container" of about:srcdoc documents)
- somebody's HTML only in a frame with an empty ``sandbox``: no scripts, no forms, no navigation, another origin; its
  ``link``, ``meta`` and ``base`` become text, since ``<link rel=preconnect>`` is subject to no policy
- figures of plotly each in a frame with ``allow-scripts`` alone, made when its tab is first opened; plotly's bundle is
  in the file once

Without scripts the panels show one below the other.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined

from otel_events.deck.parts import Failure, Page, Panel, Part, Plot

LARGEST = 32 * 1024 * 1024
"""Characters of all that the panels of one page hold, plotly's bundle aside; what comes after is left out."""


class Heading(msgspec.Struct):
    """The head of a page. ``facts``: (name, value) in order. ``outcome``: of the run, "" where there is none."""

    title: str
    outcome: str = ""
    facts: Sequence[tuple[str, str]] = ()


def render(heading: Heading, panels: Sequence[Panel]) -> str:
    """Make the file.

    Args:
        heading: The head of the page.
        panels: The tabs, in order.

    Returns:
        HTML that can be encoded as UTF-8.
    """
    bounded = list(_within(panels))
    parts = [part for panel in bounded for part in panel.parts]
    bundle = plotly_bundle() if any(isinstance(part, Plot) for part in parts) else ""
    texts = [_file("tabs.js"), *([bundle, _file("plot.js")] if bundle else [])]
    hashes = list(dict.fromkeys([*map(digest, texts), *(hash_ for part in parts for hash_ in _hashes_of(part))]))
    shown: str = (
        _environment()
        .get_template("page.html")
        .render(heading=heading, panels=bounded, policy=policy(hashes), plotly=bundle)
    )
    return shown.encode("utf-8", "replace").decode()  # half a surrogate pair cannot be encoded


def fragment(panel: Panel) -> str:
    """The HTML of one panel's parts alone."""
    return str(_environment().get_template("fragment.html").render(panel=panel))


def policy(hashes: Sequence[str] = ()) -> str:
    """The Content-Security-Policy: nothing but inline styles, images and fonts that are in the file, and scripts of
    these hashes."""
    scripts = " ".join(f"'{hash_}'" for hash_ in hashes) or "'none'"
    return (
        f"default-src 'none'; script-src {scripts}; style-src 'unsafe-inline'; img-src data:; font-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def digest(script: str) -> str:
    """A script as the policy names it."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


_POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">')
_HASH = re.compile(r"sha256-[A-Za-z0-9+/]{43}=")


def _hashes_of(part: Part) -> list[str]:
    """Scripts of a page of ours in a frame: they run only if the page around it allows them too."""
    match = _POLICY.search(part.html, 0, 4096) if isinstance(part, Page) else None
    return _HASH.findall(match[1].replace("&#43;", "+")) if match else []


def _within(panels: Sequence[Panel]) -> Iterator[Panel]:
    """The panels, without the parts that go over LARGEST."""
    left = LARGEST
    for panel in panels:
        parts: list[Part] = []
        for part in panel.parts:
            size = _size(part)
            left -= size
            if left < 0:
                left += size
                part = Failure(reason=f"{size:,} characters are left out: a page holds {LARGEST:,} at most")
            parts.append(part)
        yield Panel(panel.name, parts)


def _size(value: object) -> int:
    """Characters in a part."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, msgspec.Struct):
        value = msgspec.structs.astuple(value)
    return sum(map(_size, value)) if isinstance(value, Sequence) else 0


# --- templates -------------------------------------------------------------------------------------------------------


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("otel_events.deck"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(css=_file("page.css"), tabs_script=_file("tabs.js"), plot_script=_file("plot.js"))
    environment.filters.update(srcdoc=srcdoc, in_script=_in_script, web=_is_web, span=span)
    return environment


@cache
def _file(name: str) -> str:
    return (Path(__file__).parent / "templates" / name).read_text(encoding="utf-8")


@cache
def plotly_bundle() -> str:
    """plotly.js out of plotly's wheel, without importing it; "" where plotly is not installed."""
    spec = find_spec("plotly")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(place) / "package_data" / "plotly.min.js"
        if path.is_file():
            text = path.read_text(encoding="utf-8")
            # As HTML reads it: line ends are one character, and nothing in it may end the element or hide its end.
            text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "\ufffd")
            return re.sub(r"<(?=/script|script|!--)", r"\\x3C", text, flags=re.IGNORECASE)
    return ""


_NO_PLACE = re.compile(r"<(?=(?:link|meta|base)(?:[\s/>]|$))", re.IGNORECASE)
_FRAME = """<!doctype html><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{policy}">\
<meta name="referrer" content="no-referrer"><style>:root{{color-scheme:light;background:#fff;color:#1b1f24;\
font:15px/1.5 system-ui,sans-serif}}table{{border-collapse:collapse}}td,th{{padding:.2rem .6rem}}</style>\n{html}"""


def srcdoc(html: str) -> str:
    """The document of a frame for somebody's HTML; the template escapes it into the attribute."""
    return _FRAME.format(policy=policy(), html=_NO_PLACE.sub("&lt;", html))


def _in_script(text: str) -> str:
    """JSON inside a script element: no ``<`` is left, so nothing in it can end the element."""
    return text.replace("<", "\\u003c")


def _is_web(text: str) -> bool:
    return text.startswith(("https://", "http://"))


UNITS: tuple[tuple[float, float, str], ...] = (
    (1e-3, 1e6, "µs"),
    (1.0, 1e3, "ms"),
    (120.0, 1.0, "s"),
    (7200.0, 1 / 60, "min"),
    (float("inf"), 1 / 3600, "h"),
)
"""(seconds below which, factor, unit) of a length of time."""


def span(seconds: float) -> str:
    """A length of time in words."""
    factor, unit = next((factor, unit) for below, factor, unit in UNITS if seconds < below)
    return f"{seconds * factor:.3g} {unit}"
