"""What `make` prepares in a fresh clone, by `devstack/bootstrap.sh`."""

import os
import shutil
import stat
import subprocess
from pathlib import Path

from devstack.product import ROOT


def test_a_fresh_clone_gets_a_python_that_finds_it_from_anywhere_and_a_private_folder(
    tmp_path: Path,
):
    clone = tmp_path / "clone"
    (clone / "devstack").mkdir(parents=True)
    for name in ("bootstrap.sh", "penstock.sh"):
        shutil.copy(ROOT / "devstack" / name, clone / "devstack")
    for lock in ("requirements.lock", "requirements-flower.lock"):
        (clone / lock).write_text("# none\n")
    (clone / "penstock").symlink_to(ROOT / "penstock")

    made = subprocess.run(
        ["sh", "devstack/bootstrap.sh", "true"],
        cwd=clone, capture_output=True, text=True, check=False, umask=0o022,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr

    # As a command of .venv/bin does: the working directory is not on its path.
    found = subprocess.run(
        [clone / ".venv/bin/python", "-P", "-c",
         "import importlib.util; print(importlib.util.find_spec('penstock').origin)"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
    )  # fmt: skip
    assert found.stdout == f"{clone / 'penstock/__init__.py'}\n", found.stderr
    assert stat.S_IMODE((clone / ".devstack").stat().st_mode) == 0o700
