"""The tasks that there are: what workers announce, and where the layout sends it. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.submitting.catalog import Catalog
from topology.model import Topology

_BY_PLACE = ("positional_only", "positional_or_keyword")
_BY_NAME = (*_BY_PLACE, "keyword_only")


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownTask:
    """One task."""

    name: str
    schema: dict[str, Any] | None
    """JSON Schema of its arguments by name; None: no live worker announces it."""
    positional: tuple[str, ...] | None
    """Names of those that can be given by place, in order; None: as of `schema`."""
    doc: str | None
    workers: tuple[str, ...]
    queues: tuple[str, ...]


def known_tasks(
    topology: Topology, catalog: Catalog, workers: Mapping[str, Sequence[str]]
) -> list[KnownTask]:
    """Return every task that a live worker announces or a route names, by name.

    Args:
        topology: The routes.
        catalog: What is announced.
        workers: Task → live workers that have it.
    """
    routed = {route.task for route in topology.routes if not route.is_pattern}
    return [_task(name, topology, catalog, workers) for name in sorted(routed.union(catalog.tasks))]


def _task(
    name: str, topology: Topology, catalog: Catalog, workers: Mapping[str, Sequence[str]]
) -> KnownTask:
    route = topology.route(name)
    entry = next((one.entry for one in catalog.announced(name)), None)
    params = None if entry is None else entry["params"]
    return KnownTask(
        name=name,
        schema=None if params is None else arguments_schema(params),
        positional=None if params is None else names_by_place(params),
        doc=None if entry is None else str(entry.get("doc") or "") or None,
        workers=tuple(workers.get(name, ())),
        queues=() if route is None else topology.match(route.exchange, route.routing_key),
    )


def arguments_schema(params: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the JSON Schema of the arguments of a task, given by name.

    Args:
        params: As announced, see `penstock.describe.parameter`.
    """
    named = [one for one in params if one.get("kind") in _BY_NAME]
    more = next((one.get("schema") for one in params if one.get("kind") == "var_keyword"), None)
    properties = {
        str(one["name"]): {
            **(one.get("schema") or {}),
            **({"default": one["default"]} if "default" in one else {}),
        }
        for one in named
    }
    found: dict[str, Any] = {"type": "object", "properties": properties}
    if required := [str(one["name"]) for one in named if one.get("required")]:
        found["required"] = required
    found["additionalProperties"] = False if more is None else more
    return found


def names_by_place(params: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the names of the arguments that can be given by place; `*args` has none.

    Args:
        params: As announced.
    """
    return tuple(str(one["name"]) for one in params if one.get("kind") in _BY_PLACE)
