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
    "thorough", deadline=None, max_examples=300, derandomize="CI" in os.environ
)
hypothesis.settings.register_profile("quick", deadline=None, max_examples=50)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "thorough"))

WHOLE_STACKS = ("tests/e2e/", "tests/faults/")
"""Folders of tests that run everything at once: two of them beside each other would be slow."""


class ByFile(LoadScopeScheduling):  # type: ignore[misc]  # pytest-xdist has no hints
    """Shares tests out among processes by file; those of whole stacks all go to one."""

    def _split_scope(self, nodeid: str) -> str:
        return "whole stacks" if nodeid.startswith(WHOLE_STACKS) else nodeid.partition("::")[0]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFile:
    """Return the scheduler of a run on several processes (`-n`)."""
    return ByFile(config, log)
