"""The command `penstock`, which is `python -m penstock` too."""

import argparse
import importlib.util
import os
import sys
from pathlib import Path

from penstock import VERSION, describe
from penstock.worker.checkup import check

PROGRAMS = {
    "gateway": "start the HTTP server",
    "topology": "import, show, check, apply or draw the layout of RabbitMQ",
}
"""Programs of a deployment: a checkout or an image has them, the library alone does not."""
_NOT_HERE = (
    "penstock {0}: not installed here. It comes with a checkout of the project and with its images "
    "(docker compose exec gateway python -m {0} --help), not with the library celery-penstock."
)
WELL, FAULTY = 0, 1


def main(arguments: list[str] | None = None) -> int:
    """Run the command, and return its exit status."""
    options, rest = _parser().parse_known_args(arguments)
    if options.command in PROGRAMS:
        return _run(options.command, rest)
    if options.command == "describe":
        return describe.main(rest)
    if rest:
        _parser().error(f"unknown argument: {rest[0]}")
    return _check(options.app)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="penstock",
        description="Celery behind an HTTP front door: see that an application is ready for it.",
        epilog="An application is made with `from penstock import Penstock`. Workers and beat are "
        "Celery's own programs: `celery -A proj worker`, `celery -A proj beat`.",
    )
    parser.add_argument("--version", action="version", version=f"penstock {VERSION}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    checking = commands.add_parser(
        "check",
        help="see whether an application is ready: its tasks, settings and servers",
        description="See whether an application is ready for a gateway: its tasks as a gateway "
        "will know them, settings that weaken a promise, RabbitMQ with its queues, Redis. Changes "
        "nothing. Exit status: 0 ready, 1 not.",
    )
    checking.add_argument(
        "-A", "--app", required=True, help="the application, as for celery: proj.tasks, proj:app"
    )
    commands.add_parser(
        "describe", help="write an application as a JSON file for a gateway", add_help=False
    )
    for name, words in PROGRAMS.items():
        commands.add_parser(name, help=f"{words} (python -m {name})", add_help=False)
    return parser


def _check(app: str) -> int:
    sys.path.insert(0, str(Path.cwd()))  # as the program `celery` does
    findings = check(app)
    width = max(len(found.what) for found in findings)
    for found in findings:
        print(f"{'ok   ' if found.fine else 'FAULT'}  {found.what.ljust(width)}  {found.text}")
    return WELL if all(found.fine for found in findings) else FAULTY


def _run(name: str, arguments: list[str]) -> int:
    """Become one of the programs, if it is here."""
    if importlib.util.find_spec(name) is not None:
        os.execv(sys.executable, [sys.executable, "-m", name, *arguments])  # noqa: S606  # no shell
    print(_NOT_HERE.format(name), file=sys.stderr)
    return FAULTY


if __name__ == "__main__":
    sys.exit(main())
