"""Print the part of requirements.lock that one extra of pyproject.toml needs, hashes included.

    python devstack/lock_subset.py gateway | pip install --require-hashes --no-deps -r /dev/stdin

The image of the gateway has no Celery and that of the workers no aiohttp, and yet there is one lock
for all. pip cannot take a part of it: hashes in a constraints file are not required of what is
installed. Who needs what stands in the lock itself, in pip-compile's `# via` comments.

Run as a file, with the standard library only: the build stage of the images has nothing else.
"""

import re
import sys
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent
_PIN = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==", re.MULTILINE)


def subset(lock: str, direct: Iterable[str]) -> str:
    """Return the lock's entries for these packages and all that they need.

    Args:
        lock: text of requirements.lock.
        direct: names of packages.

    Raises:
        KeyError: one of `direct` is not in the lock.
    """
    entries = dict(_entries(lock))
    parents = {name: _parents(entry) for name, entry in entries.items()}
    wanted = {_normal(name) for name in direct}
    if missing := wanted - entries.keys():
        raise KeyError(f"not in the lock: {', '.join(sorted(missing))}")
    while found := {name for name in entries if name not in wanted and parents[name] & wanted}:
        wanted |= found
    return "".join(entry for name, entry in entries.items() if name in wanted)


def direct_packages(project: Mapping[str, object], extra: str) -> list[str]:
    """Return the names in one extra of a parsed pyproject.toml.

    Raises:
        KeyError: there is no such extra.
    """
    requirements = project["project"]["optional-dependencies"][extra]  # type: ignore[index]
    return [re.split(r"[^A-Za-z0-9._-]", one, maxsplit=1)[0] for one in requirements]


def _entries(lock: str) -> Iterable[tuple[str, str]]:
    """Split the lock into its entries, by normalised name, each with its comments."""
    starts = [(match.start(), _normal(match[1])) for match in _PIN.finditer(lock)]
    ends = [start for start, _ in starts[1:]] + [len(lock)]
    for (start, name), end in zip(starts, ends, strict=True):
        yield name, lock[start:end]


def _parents(entry: str) -> set[str]:
    """Return who needs this entry: `# via a`, or `# via` and a line each."""
    lines = [line.strip() for line in entry.splitlines()]
    comments = [line.removeprefix("#").strip() for line in lines if line.startswith("#")]
    words = [comment.removeprefix("via").strip() for comment in comments]
    return {_normal(word) for word in words if word and not word.startswith("penstock (")}


def _normal(name: str) -> str:
    """Return the name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def main() -> None:
    """Print the subset for the extra named on the command line."""
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    lock = (_ROOT / "requirements.lock").read_text(encoding="utf-8")
    print(subset(lock, direct_packages(project, sys.argv[1])), end="")


if __name__ == "__main__":
    main()
