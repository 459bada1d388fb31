"""The examples in the docstrings of what users call: each runs, and gives what it says."""

from __future__ import annotations

import doctest
from importlib import import_module

import pytest

MODULES = (
    "deck.model",
    "deck.renderers",
    "inprocess.context",
    "inprocess.structured",
    "instrument.start",
    "instrument.wanted",
    "tasks.context",
    "tasks.decorator",
    "tasks.fingerprint",
    "tasks.options",
    "tasks.output",
    "tasks.stats",
)


@pytest.mark.parametrize("module", MODULES)
def test_the_examples_run(module: str) -> None:
    result = doctest.testmod(import_module(f"otel_events.{module}"))
    assert result.attempted > 0
    assert result.failed == 0
