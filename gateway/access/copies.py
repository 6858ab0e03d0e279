"""One message of a task id that may be published more than once."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Copy:
    """Which copy a message is."""

    task_id: str
    """The id, the same in each copy."""
    nonce: str
    """Names this copy: the worker lets one of them start. Shorter than the id."""

    @property
    def message_id(self) -> str:
        """Unique among the messages in flight, and as long as the task id."""
        return self.task_id[: -len(self.nonce)] + self.nonce
