"""A task whose inputs and decks are hostile, and one that shows a figure of each kind: run with the folder of decks in
$OTEL_EVENTS_DECKS and the address of the canary, prints the paths of their pages.
"""

from __future__ import annotations

import sys
from typing import Any

import matplotlib

matplotlib.use("agg")

import pandas
import plotly.graph_objects
import polars
from matplotlib import pyplot

from otel_events import Deck, DeckField, current_context, task
from otel_events.deck import Markdown, Text, place

CANARY = sys.argv[1]
RUN = f"document.title='owned';top.document.title='owned';fetch('{CANARY}/fetch');new Image().src='{CANARY}/image'"
HOSTILE = (
    f"</script></title></textarea></iframe><script>{RUN}</script>\"'><img src='{CANARY}/img' onerror=\"{RUN}\">"
    f"<svg onload=\"{RUN}\"></svg><a id='away' href='{CANARY}/away'>away</a><a href=\"javascript:{RUN}\">js</a>"
)
MORE = (
    f"<link rel=stylesheet href='{CANARY}/css'><LINK rel=preconnect href='{CANARY}/'>"
    f"<link rel=prefetch href='{CANARY}/prefetch'>"
    f"<meta http-equiv=refresh content='0;url={CANARY}/refresh'><base href='{CANARY}/'><img src=relative>"
    f"<style>@import '{CANARY}/import';body{{background:url({CANARY}/background)}}"
    f"@font-face{{font-family:f;src:url({CANARY}/font)}}p{{font-family:f}}</style><p>text</p>"
    f"<iframe src='{CANARY}/frame'></iframe><object data='{CANARY}/object'></object><embed src='{CANARY}/embed'>"
    f"<video src='{CANARY}/video' autoplay></video><form action='{CANARY}/form'><button id='send'>send</button></form>"
    f"<iframe srcdoc=\"<script src='{CANARY}/inner'></script>\"></iframe><script src='{CANARY}/script'></script>"
    f"<a id='ping' href='#x' ping='{CANARY}/ping'>ping</a><table background='{CANARY}/table'></table>"
)


class Offers:
    def _repr_html_(self) -> str:
        return HOSTILE + MORE

    def __repr__(self) -> str:
        return HOSTILE


def path() -> str:
    run = current_context().run
    assert run is not None
    return str(place.path_of(run, place.folder()))


@task(name=HOSTILE, enable_deck=True, deck_fields=tuple(DeckField))
def hostile(text: str, words: dict[str, str], thing: Any) -> tuple[str, Offers, str]:
    Deck(HOSTILE, HOSTILE + MORE)
    Deck("offers", Offers())
    Deck("text", Text(HOSTILE + MORE))
    Deck("markdown", Markdown(f"# {HOSTILE}\n\n![i]({CANARY}/markdown)\n\n[j](javascript:{RUN})\n\n{MORE}"))
    Deck("pandas", pandas.DataFrame({HOSTILE: [HOSTILE, MORE]}, index=[HOSTILE, "b"]))
    figure = plotly.graph_objects.Figure(plotly.graph_objects.Scatter(x=[HOSTILE, "b"], y=[1, 2], text=[HOSTILE, MORE]))
    figure.update_layout(
        title=HOSTILE,
        images=[{"source": f"{CANARY}/plotly", "x": 0, "y": 1, "sizex": 1, "sizey": 1}],
        annotations=[{"text": f"<a href='{CANARY}/note'>{HOSTILE}</a>", "x": 0, "y": 1}],
    )
    Deck("plotly", figure)
    with current_context().stats.timer(HOSTILE):
        return path(), Offers(), HOSTILE


@task(name="good", enable_deck=True)
def good() -> str:
    Deck("html", "<b id='bold'>bold</b>")
    Deck("markdown", Markdown("# Done\n\n| a | b |\n|---|---|\n| 1 | 2 |"))
    Deck("pandas", pandas.DataFrame({"loss": [0.5, 0.25], "step": [1, 2]}))
    Deck("polars", polars.DataFrame({"city": ["Ulm", "Jena"], "rows": [3, 4]}))
    figure, axes = pyplot.subplots()
    axes.plot([1, 2, 3])
    axes.set_title("a curve")
    Deck("matplotlib", figure).append(axes)
    Deck("plotly", plotly.graph_objects.Figure(plotly.graph_objects.Scatter(y=[1, 3, 2])))
    Deck("many", plotly.graph_objects.Figure(plotly.graph_objects.Scattergl(y=[1, 3, 2])))
    Deck("series", pandas.Series([1, 2], name="s")).append(polars.Series("t", [3]))
    return path()


print(hostile(HOSTILE, {HOSTILE: MORE}, Offers())[0])
print(good())
