"""A second run of what failed: who fails twice is broken, who passes alone is named."""

import subprocess
import sys
from pathlib import Path

TESTS = """
from pathlib import Path

def test_first_time_only():
    marker = Path(__file__).with_suffix(".seen")
    there = marker.exists()
    marker.touch()
    assert there

def test_in_order():
    pass
"""
BROKEN = """
import pytest

@pytest.mark.parametrize("of", range({count}))
def test_broken(of):
    raise AssertionError
"""


def run(folder: Path, files: dict[str, str]) -> tuple[int, str]:
    for name, text in files.items():
        (folder / name).write_text(text)
    (folder / "pytest.ini").write_text(f"[pytest]\npythonpath = {Path(__file__).parents[2]}\n")
    command = [sys.executable, "-m", "pytest", "-n", "2", "-p", "tests.again", "--again", "3"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


def test_what_passes_alone_is_no_failure_but_named(tmp_path: Path):
    status, told = run(tmp_path, {"test_one.py": TESTS})

    assert status == 0, told
    assert told.count("1 failed, 1 passed") == 1
    assert "FLAKES, to be mended" in told
    assert told.rstrip().endswith("test_one.py::test_first_time_only")


def test_what_fails_twice_fails(tmp_path: Path):
    status, told = run(tmp_path, {"test_one.py": TESTS, "test_two.py": BROKEN.format(count=1)})

    assert status == 1, told
    assert "FLAKES" not in told


def test_many_failures_are_not_run_again(tmp_path: Path):
    status, told = run(tmp_path, {"test_two.py": BROKEN.format(count=4)})

    assert status == 1, told
    assert "4 tests failed: too many to run again" in told


def test_a_run_without_failures_is_left_alone(tmp_path: Path):
    status, told = run(tmp_path, {"test_two.py": "def test_fine():\n    pass\n"})

    assert status == 0, told
    assert "alone" not in told
