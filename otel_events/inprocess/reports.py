"""Reports of attempts: something that they made, and where it is or what it holds."""

from __future__ import annotations

import time

from otel_events.inprocess.ids import new_id
from otel_events.inprocess.queue import emit
from otel_events.model.event import Report, Run


def report(
    run: Run, name: str, media_type: str = "", *, uri: str = "", content: str = "", step: int | None = None
) -> None:
    """Hand over a report of ``run``. Raises nothing.

    Args:
        run: The attempt that made it.
        name: What it is.
        media_type: For example ``text/html``.
        uri: Where it is.
        content: What it holds, if that is short.
        step: Of a series, such as the epochs of a training.
    """
    emit(
        Report(
            id=new_id(),
            time=time.time_ns(),
            run=run,
            name=name,
            media_type=media_type,
            uri=uri,
            content=content,
            step=step,
        )
    )
