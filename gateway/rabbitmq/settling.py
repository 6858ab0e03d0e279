"""Acknowledging: how many at once, so that RabbitMQ forgets none, and what a lost one means."""

from typing import Final, Literal

from aiormq.abc import DeliveredMessage

from gateway.rabbitmq.faults import BrokerAwayError, broker_calls

ACKS_IN_A_ROW: Final = 24
"""Acknowledgements that may be under way on a channel that is closed afterwards. Whoever sends more
gets a message between: RabbitMQ answers that when it has applied what came before.

A channel of RabbitMQ holds back what it is sent for a quorum queue while 32 commands
(`quorum_commands_soft_limit`) are not applied, and forgets that when it is closed: the messages
are in the queue again although each was acknowledged. Seen on 3.10 while the disk is busy.
"""
_TIMEOUT_S: Final = 5.0


async def settle(message: DeliveredMessage, how: Literal["ack", "reject", "requeue"]) -> bool:
    """Acknowledge, reject or requeue a delivery; return False if it was lost, and comes again."""
    channel, tag = message.channel, message.delivery_tag or 0
    try:
        async with broker_calls(_TIMEOUT_S):
            if how == "ack":
                await channel.basic_ack(tag)
            else:
                await channel.basic_reject(tag, requeue=how == "requeue")
    except BrokerAwayError:
        return False
    return True
