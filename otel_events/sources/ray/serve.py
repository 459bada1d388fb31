"""The options of ``serve`` for Ray: a dashboard that is asked how jobs ended and what ran before."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from otel_events.model.errors import ConfigError
from otel_events.sources.ray import jobs, state
from otel_events.sources.ray.dashboard import Backfill, Dashboard, Jobs
from otel_events.sources.source import Polled, Readers, Serving

TOKEN_VARIABLE = "RAY_AUTH_TOKEN"  # noqa: S105 - the name of a variable, not a token


class Options(msgspec.Struct, frozen=True):
    """As the command line has them."""

    ray_dashboard: Annotated[
        str, typer.Option("--ray-dashboard", metavar="URL", help="Ask this dashboard of Ray how its jobs ended.")
    ] = ""
    ray_session: Annotated[
        str,
        typer.Option(
            "--ray-session", metavar="NAME", help="Name of its session, where the dashboard does not tell it."
        ),
    ] = ""
    ray_token_file: Annotated[
        str,
        typer.Option(
            "--ray-token-file", metavar="FILE", help=f"File with the dashboard's token; else ${TOKEN_VARIABLE}."
        ),
    ] = ""

    def readers(self, serving: Serving) -> Readers:
        """The two pollers of a dashboard; none without its address. Raises ConfigError for an address that is none."""
        if not self.ray_dashboard:
            return Readers()
        dashboard = Dashboard(self.ray_dashboard, lambda: token(self.ray_token_file, serving.environ), self.ray_session)
        recorded = serving.recorded
        earlier = Backfill(dashboard, lambda session, job: recorded.has_root("ray", session, job))
        return Readers(
            polled=(
                Polled("ray", earlier, f"{dashboard.url} (tasks)", state.HINT),
                Polled("ray", Jobs(dashboard), dashboard.url, jobs.HINT),
            )
        )


def token(path: str, environ: Mapping[str, str]) -> str:
    """The dashboard's token, read anew for each request, so that it may be replaced. Raises ConfigError."""
    if not path:
        return environ.get(TOKEN_VARIABLE, "").strip()
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--ray-token-file {path} cannot be read ({error}): check the path and rights") from error
