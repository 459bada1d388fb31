"""The examples in docstrings run."""

from __future__ import annotations

import doctest

from otel_events.views import explain


def test_the_examples_run() -> None:
    result = doctest.testmod(explain)
    assert result.attempted
    assert not result.failed
