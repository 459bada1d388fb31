"""The examples in docstrings run."""

from __future__ import annotations

import doctest
from importlib import import_module

import pytest

MODULES = ("documents", "source", "events.decode", "ray.fields", "ray_workflow.files")


@pytest.mark.parametrize("module", MODULES)
def test_the_examples_run(module: str) -> None:
    result = doctest.testmod(import_module(f"otel_events.sources.{module}"))
    assert result.attempted
    assert not result.failed


def test_the_example_of_decoder_runs() -> None:
    result = doctest.testmod(import_module("otel_events.sources"))
    assert (result.failed, result.attempted > 0) == (0, True)
