"""A task with a deck, in plain Python: what it shows is one HTML file, and the program prints where.

python examples/deck.py
otel-events deck RUN --open
"""

from __future__ import annotations

import otel_events
from otel_events import Deck, DeckField, current_context
from otel_events.deck import Markdown


@otel_events.task(enable_deck=True, deck_fields=(DeckField.INPUT, DeckField.OUTPUT, DeckField.TIMELINE))
def train(epochs: int, rate: float) -> float:
    losses = [{"epoch": epoch, "loss": round(1 / (1 + rate * epoch), 4)} for epoch in range(1, epochs + 1)]
    Deck("Losses", losses)
    Deck("Notes", Markdown(f"# Training\n\nThe last of **{epochs}** losses is {losses[-1]['loss']}."))
    with current_context().stats.timer("evaluate"):
        return float(losses[-1]["loss"])


@otel_events.workflow
def nightly() -> None:
    train(epochs=5, rate=0.5)
    print(f"otel-events deck {current_context().run_id} --open")


if __name__ == "__main__":
    otel_events.configure()
    nightly()
