"""What aio-pika, aiormq and pamqp raise, as errors of ours: the only mapping.

    raised                                       ours                 queued
    a queue or exchange does not exist           MissingEntityError   no
    refused, lost, silent for too long           BrokerAwayError      as the caller knows
    CancelledError, since a connection was lost  BrokerAwayError      as the caller knows
    CancelledError, since this task shall end    CancelledError       –

The end of a published message is no exception of aio-pika: `confirms` knows it.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from aiormq.exceptions import AMQPError, ChannelNotFoundEntity
from pamqp.exceptions import PAMQPException

from gateway.cancellation import told_to_stop
from gateway.errors import Problem, Queued
from penstock.looper import described
from penstock.wire import tls

_FAULTS = (
    AMQPError,
    PAMQPException,
    OSError,
    RuntimeError,  # aiormq's ChannelInvalidStateError, and aio-pika before it is connected
    TimeoutError,
    asyncio.CancelledError,  # aiormq cancels what waits on a connection that it loses
)


class BrokerAwayError(Problem):
    """RabbitMQ cannot be reached, ended the channel or its connection, or does not answer.

    Args:
        reason: For logs and `/readyz`; the client reads `broker-unavailable`.
        queued: Whether a message may be queued; None where nothing is published.
    """

    def __init__(self, reason: str, *, queued: Queued | None = None) -> None:
        super().__init__("broker-unavailable", "no connection to RabbitMQ", queued=queued)
        self.reason = reason

    def __str__(self) -> str:
        """Return the reason, for logs."""
        return self.reason


class MissingEntityError(Exception):
    """A queue or an exchange does not exist; RabbitMQ closed the channel that asked for it."""


@contextlib.asynccontextmanager
async def broker_calls(
    timeout_s: float | None, *, queued: Queued | None = None
) -> AsyncIterator[None]:
    """Bound calls into aio-pika in time, and turn each of its failures into one of ours.

    Args:
        timeout_s: For all calls together; None where another bound holds.
        queued: What a failure means for the message at hand.

    Raises:
        MissingEntityError: A queue or an exchange does not exist.
        BrokerAwayError: Whatever else went wrong.
    """
    try:
        async with asyncio.timeout(timeout_s):
            yield
    except ChannelNotFoundEntity as error:
        raise MissingEntityError(str(error)) from error
    except _FAULTS as error:
        if told_to_stop():
            raise asyncio.CancelledError from error
        raise BrokerAwayError(tls.refusal(error) or described(error), queued=queued) from error
