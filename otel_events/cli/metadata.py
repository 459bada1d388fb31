"""``otel-events metadata``: what ray.workflow.get_metadata would say, of Ray's storage or of any recorded run."""

from __future__ import annotations

import json
from contextlib import closing
from typing import Annotated, Any

import typer

from otel_events.cli.common import REFUSED, USAGE, JournalOption, journal_path, say
from otel_events.journal import Journal
from otel_events.model.errors import OtelEventsError
from otel_events.sources.ray_workflow.files import open_storage
from otel_events.views.explain import printable
from otel_events.views.metadata import Recorded, Stored

Workflow = Annotated[str | None, typer.Argument(metavar="[WORKFLOW]", help="Id of a workflow, or of its run.")]
Task = Annotated[
    str | None, typer.Argument(metavar="[TASK]", help="A task of it: its id, or its name (`_1` for the second).")
]
Storage = Annotated[
    str,
    typer.Option(
        metavar="URL", help="Folder or URL given as ray.init(storage=...) to Ray 2.47 or earlier; else the journal."
    ),
]
List = Annotated[bool, typer.Option("--list", help="List ids and status of all workflows instead.")]
Status = Annotated[
    list[str] | None,
    typer.Option("--status", metavar="WORD", help="With --list: only those of that status; repeatable."),
]


def metadata(
    workflow: Workflow = None,
    task: Task = None,
    storage: Storage = "",
    journal: JournalOption = "",
    list_: List = False,
    status: Status = None,
) -> None:
    """Print what is known of a workflow, or of one of its tasks, as ray.workflow.get_metadata has it; as JSON.

    Of Ray's own storage (--storage) the answer is Ray's, key by key, without Ray; of a recorded run of any source the
    keys are the same.

    Exit code 1: no such workflow or task.

    Examples:

        otel-events metadata trip1 --storage /mnt/ray-storage
        otel-events metadata trip1 trip --storage s3://bucket/ray
        otel-events metadata --list --status FAILED --storage /mnt/ray-storage
        otel-events metadata flytesnacks/development/a7xk2p9qv5 n0 --journal runs.db
    """
    if list_ == (workflow is not None):
        say("otel-events: name a workflow, or ask for --list")
        raise typer.Exit(USAGE)
    runs = Stored(open_storage(storage)) if storage else Recorded(Journal.reader(journal_path(journal)))
    with closing(runs):
        try:
            if workflow is None:
                for name, word in runs.list_all(status):
                    typer.echo(f"{word:<10}  {printable(name)}")
            else:
                typer.echo(shown(runs.get_metadata(workflow, task)))
        except ValueError as error:
            if isinstance(error, OtelEventsError):
                raise
            say(f"otel-events: {error}")
            raise typer.Exit(REFUSED) from None


def shown(answer: dict[str, Any]) -> str:
    """JSON in Ray's order of keys; what a terminal would act on stands as its code point."""
    return "\n".join(printable(line) for line in json.dumps(answer, indent=2, ensure_ascii=False).split("\n"))
