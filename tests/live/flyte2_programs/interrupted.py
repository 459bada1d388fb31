"""A run that is cancelled from within; prints how many actions the instrumentor still holds."""

from __future__ import annotations

import asyncio
import concurrent.futures

import flyte

from otel_events.instrument.flyte2 import hooks

env = flyte.TaskEnvironment("interrupted")


@env.task
async def gives_up() -> int:
    raise asyncio.CancelledError


def main() -> None:
    flyte.init()
    try:
        flyte.with_runcontext(mode="local").run(gives_up)
    except (asyncio.CancelledError, concurrent.futures.CancelledError):
        print("left", len(hooks._under_way))


if __name__ == "__main__":
    main()
