"""Whether this worker was told to stop."""

from celery.worker import state as worker_state


def stopping() -> bool:
    """Tell whether this process ends as soon as it can."""
    return any(
        flag is not None and flag is not False
        for flag in (worker_state.should_stop, worker_state.should_terminate)
    )
