"""Virtual environments of the peers: what they need never enters the product's lock.

.bench/<group>   made from requirements-<group>.lock, for the dependency groups of that name
"""

import subprocess
import sys
from pathlib import Path

from devstack.errors import StartError
from devstack.product import ROOT

PRODUCT = "product"
"""Not a group: the interpreter that runs the bench itself."""
PEERS = "bench"
CELERY_FASTAPI = "bench-celery-fastapi"
"""On its own: it takes an older Celery than the rest is measured with."""


def python_of(group: str) -> Path:
    """The interpreter of a group, whose environment `install` made."""
    if group == PRODUCT:
        return Path(sys.executable)
    return ROOT / ".bench" / group / "bin" / "python"


def install(group: str) -> None:
    """Make the environment of a group unless it is there and of the present lock.

    Raises:
        StartError: pip could not.
    """
    if group == PRODUCT:
        return
    folder = ROOT / ".bench" / group
    lock = ROOT / f"requirements-{group}.lock"
    made_from = folder / "requirements.lock"
    if made_from.exists() and made_from.read_bytes() == lock.read_bytes():
        return
    print(f"making {folder.relative_to(ROOT)} from {lock.name} …", file=sys.stderr)
    try:
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        subprocess.run(
            [
                folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--require-hashes",
                "--disable-pip-version-check", "-r", lock,
            ],
            check=True,
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError) as error:
        raise StartError(f"the environment of {group} could not be made: {error}") from error
    made_from.write_bytes(lock.read_bytes())
