"""``python -m otel_events`` is the ``otel-events`` command."""

from __future__ import annotations

from otel_events.cli import main

if __name__ == "__main__":
    main()
