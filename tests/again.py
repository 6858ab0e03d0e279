"""`--again N`: what failed in a run on several processes runs once more, alone, if it is little.

A run of everything fills two processors for a quarter of an hour, so that now and then a wait ends
too late. Who has failed twice is broken; who passes alone is named as a flake, which has to be
mended all the same. CPython's own tests are run like this (`python -m test --rerun`).
"""

import subprocess
import sys
from collections.abc import Generator

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option."""
    parser.addoption(
        "--again",
        type=int,
        default=0,
        metavar="N",
        help="run what failed once more, alone, where at most N tests failed",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Watch the run, in the process that reports it."""
    if config.getoption("--again") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Again(config.getoption("--again")))


class Again:
    """The second run."""

    def __init__(self, at_most: int) -> None:
        self.at_most = at_most
        self.failed: dict[str, None] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a test of which any part failed."""
        if report.failed:
            self.failed[report.nodeid] = None

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None]:
        """Run again, after the summary of the first run, and let the outcome count."""
        yield
        if session.exitstatus != pytest.ExitCode.TESTS_FAILED or not self.failed:
            return
        names, tell = list(self.failed), sys.stdout.write
        if len(names) > self.at_most:
            tell(f"{len(names)} tests failed: too many to run again\n")
            return
        tell(f"\nfailed beside others, now alone: {', '.join(names)}\n")
        sys.stdout.flush()
        status = subprocess.call(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", __name__, *names],
            cwd=session.config.rootpath,
        )
        if status == 0:
            tell(f"FLAKES, to be mended (failed beside others, passed alone): {', '.join(names)}\n")
            session.exitstatus = pytest.ExitCode.OK
