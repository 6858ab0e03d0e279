"""When a task that raised `RetryableError` is tried again. Pure."""

import math

from penstock.backoff import backoff_s
from penstock.worker.errors import RetryableError

FIRST_RETRY_S = 1.0
LONGEST_RETRY_S = 300.0
MAX_RETRIES = 12
"""Of a `RetryableError`, for tasks that say no `max_retries`: with the back-off above a dependency
may be away for half an hour before a task is given up."""


def retry_delay_s(error: RetryableError, retries: int) -> int:
    """Return the whole seconds until the next attempt.

    Args:
        error: what was raised; it may say itself when to try again.
        retries: how often the task was tried again before.
    """
    if error.retry_in_s is not None:
        return max(1, math.ceil(error.retry_in_s))
    return math.ceil(backoff_s(retries, FIRST_RETRY_S, LONGEST_RETRY_S))
