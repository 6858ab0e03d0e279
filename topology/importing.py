"""`python -m topology import`: a layout for a Celery application, and a report of what works."""

import argparse
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TextIO

from penstock.wire.app_description import AppDescription, DescriptionError, load
from topology.app_layout import from_apps, from_broker, text
from topology.app_report import Finding, findings, of_broker
from topology.app_settings import settings
from topology.management import fetch
from topology.settings import SettingsError

WORKS, STOPPED = 0, 1


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to those of `python -m topology`."""
    parser = commands.add_parser(
        "import",
        help="make a layout for a Celery application that exists",
        description="Make a layout for a Celery application that exists, and report what works "
        "behind a gateway, what does not, and why. Changes nothing on the broker. Exit codes: 0 "
        "its tasks can be submitted, 1 they cannot as it is, 2 could not tell.",
    )
    parser.add_argument(
        "--app",
        type=Path,
        metavar="FILE",
        action="append",
        default=[],
        help="what `penstock describe -A proj -o FILE` wrote; once for each application",
    )
    parser.add_argument(
        "--management",
        metavar="URL",
        help="RabbitMQ's management API, http://user:password@host:15672: look at the broker, too, "
        "or at it alone",
    )
    parser.add_argument("--vhost", help="virtual host; by default the application's, or /")
    parser.add_argument("-o", "--output", type=Path, help="layout file; default: standard output")
    parser.add_argument("--force", action="store_true", help="replace the file if it exists")


def run(options: argparse.Namespace) -> int:
    """Run the command and return its exit code.

    Raises:
        SettingsError: it lacks an option, or the output exists.
        ManagementError: the management API did not answer.
    """
    if not options.app and options.management is None:
        raise SettingsError(
            "import needs --app FILE (penstock describe -A proj -o FILE), --management URL, or both"
        )
    output: Path | None = options.output
    if output is not None and output.exists() and not options.force:
        raise SettingsError(f"{output} exists: name another file, or say --force")
    files: list[Path] = options.app
    try:
        apps = [load(file) for file in files]
    except DescriptionError as error:
        raise SettingsError(str(error)) from error
    vhost = options.vhost or (apps[0].broker.vhost if apps else "/")
    live = fetch(options.management, vhost) if options.management else None
    if apps:
        draft = from_apps(apps, live)
        found = list(findings(apps, draft, live))
    elif live is not None:
        draft = from_broker(live)
        found = list(of_broker(draft))
    common, clashes = settings(apps)
    found += clashes
    draft.topology()  # it is one, or this says why not
    layout = text(draft, _heading(apps, files, vhost), _apps(files, output))
    if output is None:
        print(layout, end="")
    else:
        output.write_text(layout, encoding="utf-8")
    _report(found, common, sys.stderr if output is None else sys.stdout)
    return STOPPED if any(one.stops for one in found) else WORKS


def _heading(apps: Sequence[AppDescription], files: Sequence[Path], vhost: str) -> list[str]:
    sources = [
        f"{file}: {app.app}, Celery {app.celery}" for app, file in zip(apps, files, strict=True)
    ]
    source = "; ".join(sources) or f"RabbitMQ's virtual host {vhost}"
    return [
        f"Made by `python -m topology import` of {source}.",
        'What has owner = "app" is the application\'s: a gateway never declares it.',
        "A task is known if a route names it. To have the queues that ship as well",
        '(documents, tasks of your own), begin with: extends = "default"',
    ]


def _apps(files: Iterable[Path], output: Path | None) -> list[str]:
    """Return the descriptions that the layout names, by their way from where it stands."""
    return [os.path.relpath(file, output.parent) if output else str(file) for file in files]


def _report(found: list[Finding], common: Mapping[str, str], to: TextIO) -> None:
    for one in found:
        print(one, file=to)
    for name, value in common.items():
        secret = "    # with its password" if name.endswith("_URL") else ""
        print(f"set    {name}={value}{secret}", file=to)
