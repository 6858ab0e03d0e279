"""What a task raises to say how it ended; anything else that it raises is a bug and a FAILURE."""

from typing import Any

from celery.exceptions import TaskRevokedError
from kombu.exceptions import EncodeError


class TaskError(Exception):
    """Base of the errors of this process."""


class RetryableError(TaskError):
    """The task could not be done now and is worth another try, later, through the broker."""

    def __init__(self, message: str, retry_in_s: float | None = None) -> None:
        """Make the error.

        Args:
            message: what was in the way, for the person who reads the task's state.
            retry_in_s: seconds until the next try, at least 1, rounded up to whole seconds;
                default: exponential back-off with jitter.
        """
        # Only the message is an argument of the exception: Celery rebuilds it from `args`.
        super().__init__(message)
        self.retry_in_s = retry_in_s

    def __reduce__(self) -> tuple[type["RetryableError"], tuple[Any, ...]]:
        """Pickle with the delay: prefork children hand their errors to the parent that way."""
        return type(self), (str(self.args[0]), self.retry_in_s)


class LoopLostError(RetryableError):
    """Another task closed the event loop of the process under a coroutine: it is tried again."""

    def __init__(self) -> None:
        super().__init__("the event loop of the process was closed")

    def __reduce__(self) -> tuple[type["RetryableError"], tuple[Any, ...]]:
        """Pickle without arguments."""
        return type(self), ()


class PermanentError(TaskError):
    """Trying again cannot help: the message goes to the dead letters of its queue at once."""


class WorkerLost(TaskError):  # noqa: N818  # the name is in the contract: `error.type`
    """The process of the task died under it, again and again."""

    @classmethod
    def after(cls, deaths: int, how: str) -> "WorkerLost":
        """Make the error.

        Args:
            deaths: how many processes died.
            how: the last one did, as an exit status or a signal.
        """
        return cls(f"its process died {deaths} times under it, the last time by {how}")


class NotNeeded(TaskRevokedError):  # type: ignore[misc]  # noqa: N818  # `error.type` of the contract
    """The task was a link behind a failure, or an errback behind a success."""


class ResultTooLarge(EncodeError):  # noqa: N818  # the name is in the contract: `error.type`
    """The JSON of the result is longer than this deployment keeps.

    An EncodeError, which is what makes Celery store a FAILURE in place of the result.
    """


class DelayNotSupportedError(TaskError):
    """A headers exchange routes by headers, so a delay level cannot carry its routing key."""


class UnroutableError(TaskError):
    """No queue took the message (queued: no)."""


class ConfigurationError(TaskError):
    """The environment of this process is wrong.

    Args:
        faults: every fault that was found, one sentence each.
    """

    def __init__(self, faults: tuple[str, ...]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults
