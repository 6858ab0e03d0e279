"""How a run is shared out among processes, and the servers that every tier may ask for."""

import os
from typing import Any

import hypothesis
import pytest
from xdist.scheduler import LoadScopeScheduling

from tests.deployment.servers import (
    amqp_url,
    mongo,
    mongo_url,
    rabbit,
    redis_server,
    redis_url,
    vhosts,
)

__all__ = [
    "amqp_url",
    "mongo",
    "mongo_url",
    "rabbit",
    "redis_server",
    "redis_url",
    "vhosts",
]

# How long one example takes says something about the machine, nothing about the code. In CI the
# examples are the same for the same code: what others have not caused is for them no failure.
hypothesis.settings.register_profile(
    "thorough", deadline=None, max_examples=100, derandomize="CI" in os.environ
)
hypothesis.settings.register_profile("searching", deadline=None, max_examples=1000)
hypothesis.settings.register_profile("quick", deadline=None, max_examples=50)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "thorough"))

WHOLE_STACKS = {
    "tests/faults/test_cluster.py": "whole stacks, second",
    "tests/faults/test_redis_sentinels.py": "whole stacks, second",
    "tests/faults/test_worker_lost.py": "whole stacks, second",
    "tests/e2e/": "whole stacks, second",
    "tests/faults/": "whole stacks, first",
}
"""Tests that run everything at once: two of them beside each other, no more. One after the other
they would end long after all others. Who shares the stack of a folder is not parted."""


class ByFile(LoadScopeScheduling):  # type: ignore[misc]  # pytest-xdist has no hints
    """Shares tests out among processes by file; those of whole stacks go to two."""

    def _split_scope(self, nodeid: str) -> str:
        lanes = (lane for start, lane in WHOLE_STACKS.items() if nodeid.startswith(start))
        return next(lanes, nodeid.partition("::")[0])


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFile:
    """Return the scheduler of a run on several processes (`-n`)."""
    return ByFile(config, log)
