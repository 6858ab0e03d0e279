"""Descriptions of Celery applications that a layout names: `apps = ["app.json"]`."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from penstock.wire.app_description import AppDescription, DescriptionError, load
from topology.errors import TopologyError

FIELD = "apps"


def resolved(document: Mapping[str, Any], folder: Path) -> list[str]:
    """Return the paths of the files that a layout names.

    Args:
        document: its tables.
        folder: where it stands; paths are relative to that.

    Raises:
        TopologyError: the field is no list of paths.
    """
    named = document.get(FIELD, [])
    if not isinstance(named, list) or not all(isinstance(one, str) for one in named):
        raise TopologyError([f"the layout: {FIELD} must be an array of paths"])
    return [str(folder / one) for one in named]


def read(paths: Iterable[str]) -> tuple[AppDescription, ...]:
    """Read the files.

    Raises:
        TopologyError: holds what is wrong with each.
    """
    found, faults = [], []
    for path in dict.fromkeys(paths):
        try:
            found.append(load(Path(path)))
        except DescriptionError as error:
            faults.append(f"the layout: {FIELD}: {error}")
    if faults:
        raise TopologyError(faults)
    return tuple(found)
