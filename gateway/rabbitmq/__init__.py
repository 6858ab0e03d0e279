"""The only home of aio-pika, aiormq and pamqp: publishing with confirms, and all the rest.

connection      an AMQP connection that comes back; a process has two
faults          what the libraries raise, as errors of ours
publisher       the first connection: layout, channel (`publish_channel`), messages in flight
(`confirms`, `room`) of any form (`task_message`, `message`)
consumer        the second, a channel each: deliveries of one queue,
queue_depths    how full queues are,
dead_letters    letters, looked at and published again (`letters`, `replays`),
control         commands to workers and their replies
management      RabbitMQ's HTTP API, for people
parts           what a gateway has of these
"""
