"""Tasks that imports are made of: what an operator finds failed, and mends."""

import os
from pathlib import Path

from penstock.worker.errors import PermanentError
from penstock.worker.running.spec import TaskSpec

BROKEN = "IMPORTS_BROKEN"
"""Variable that names a file; while it is there, the feed is broken."""


def prices(path: str, batch: int) -> int:
    """Import the prices of a feed, and return the number of the batch."""
    if Path(os.environ[BROKEN]).exists():
        message = f"{path}: no column 'price', there is 'net_price'"
        raise ValueError(message)
    return batch


def order(customer: str, amount: float) -> float:
    """Import an order, which is of some worth."""
    if amount <= 0:
        message = f"the amount of {customer} is {amount:g}"
        raise PermanentError(message)
    return amount


TASKS = [TaskSpec("imports.prices", prices), TaskSpec("imports.order", order)]
