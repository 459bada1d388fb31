"""A task in a pod: the run of Flyte's own events, from what propeller gives the container.

| part of the run | from |
|---|---|
| execution | ``FLYTE_INTERNAL_EXECUTION_{PROJECT,DOMAIN,ID}`` |
| task | ``FLYTE_INTERNAL_TASK_NAME`` |
| attempt | ``FLYTE_ATTEMPT_NUMBER``, from 0 |
| node | ``HOSTNAME``, the pod's name: ``<execution>-<node>-<attempt>`` (the ``generated_name`` of the event); where |
| | that was too long and is a hash: the part after ``<project>-<domain>-<execution>`` in ``--output-prefix`` |
| index of a map task | ``BATCH_JOB_ARRAY_INDEX_*``, as flytekit reads it |

(flyteplugins k8s_resource_adds.go, flytepropeller's data directories; v1.16.8. Derived from their source.) What cannot
be known in a pod: the workflow's name where ``FLYTE_INTERNAL_EXECUTION_WORKFLOW`` is empty, and the node where neither
place tells it: then the run has an id of its own, ``flyte.generated_name`` is what to join it by.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from otel_events.instrument.flytekit.runs import SOURCE, element
from otel_events.model.event import Run, Scalar

_NAMES = {
    "project": ("FLYTE_INTERNAL_EXECUTION_PROJECT", "_F_PRJ"),
    "domain": ("FLYTE_INTERNAL_EXECUTION_DOMAIN", "_F_DM"),
    "name": ("FLYTE_INTERNAL_EXECUTION_ID", "_F_NM"),
    "workflow": ("FLYTE_INTERNAL_EXECUTION_WORKFLOW", "_F_WF"),
    "launch_plan": ("FLYTE_INTERNAL_EXECUTION_LAUNCHPLAN", "_F_LP"),
    "task": ("FLYTE_INTERNAL_TASK_NAME", "_F_TK_NM"),
    "version": ("FLYTE_INTERNAL_TASK_VERSION", "_F_TK_V"),
}
"""The long names and the short ones, as flytekit's entrypoint reads them."""


class Pod(NamedTuple):
    """The attempt that this container runs."""

    run: Run
    attributes: dict[str, Scalar]


def pod(environ: Mapping[str, str], output_prefix: str, index: int | None = None) -> Pod | None:
    """The attempt, or None outside of a pod of Flyte's. ``index``: of the element, where the task is a map task."""
    parts = {part: next((environ[name] for name in names if environ.get(name)), "") for part, names in _NAMES.items()}
    number = environ.get("FLYTE_ATTEMPT_NUMBER", "0") or "0"
    if not (parts["project"] and parts["domain"] and parts["name"] and parts["task"] and number.isdecimal()):
        return None
    host = environ.get("HOSTNAME", "")
    namespace = f"{parts['project']}/{parts['domain']}"
    root = f"{namespace}/{parts['name']}"
    node = _of_host(host, parts["name"], number, index) or _of_prefix(output_prefix, root.replace("/", "-"))
    above = f"{root}/{node or host or 'unknown'}"
    attempt = int(number) + 1
    run = Run(
        *(SOURCE, "task", f"{above}/{parts['task']}", parts["task"], root, above if node else None),
        1 if index is not None else attempt, namespace, _definition(parts["workflow"]), "node" if node else "",
    )  # fmt: skip
    if index is not None:
        run = _attempt(element(run, index), attempt)
    return Pod(run, _attributes(parts, node, host, index))


def _attempt(run: Run, attempt: int) -> Run:
    return Run(
        *(run.source, run.kind, run.id, run.name, run.root, run.parent, attempt),
        *(run.namespace, run.workflow, run.parent_kind),
    )


def _attributes(parts: Mapping[str, str], node: str, host: str, index: int | None) -> dict[str, Scalar]:
    """Under the names that the decoder of Flyte's events gives them."""
    attributes: dict[str, Scalar] = {
        "flyte.project": parts["project"],
        "flyte.domain": parts["domain"],
        "flyte.execution": parts["name"],
    }
    texts = {
        "flyte.node_id": node,
        "flyte.task.version": parts["version"],
        "flyte.generated_name": host,
        "flyte.launch_plan": _definition(parts["launch_plan"]),
    }
    attributes.update((name, text) for name, text in texts.items() if text)
    if index is not None:
        attributes["flyte.index"] = index
    return attributes


def _definition(text: str) -> str:
    """The name in ``project:domain:name:version``."""
    parts = text.split(":")
    return parts[-2] if len(parts) > 3 else text


def _of_host(host: str, execution: str, attempt: str, index: int | None) -> str:
    """The node in a pod's name; of an element ``<node>-<attempt of the node>-n<index>``."""
    head, tail = f"{execution}-", f"-{attempt}"
    if not (host.startswith(head) and host.endswith(tail) and len(host) > len(head) + len(tail)):
        return ""
    node = host[len(head) : -len(tail)]
    return node if index is None else re.sub(rf"(-\d+)?-n{index}$", "", node)


def _of_prefix(output_prefix: str, execution: str) -> str:
    """The node in ``.../<project>-<domain>-<execution>/<node>/data/<attempt>``."""
    match = re.search(rf"/{re.escape(execution)}/([^/]+)/data(?:/|$)", output_prefix)
    return match[1] if match else ""
