"""What streams show on /metrics."""

from prometheus_client.parser import text_string_to_metric_families

from gateway.api.parts import WATCHING
from gateway.watching.stream_parts import StreamLimits
from tests.support.stream_client import Stream
from tests.support.waiting import eventually


async def figures(client):
    """Each sample by its name and the values of its labels."""
    text = await (await client.get("/metrics")).text()
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_streams_and_what_they_watch_are_gauges(watching, stream, issue):
    shared, other = issue(), issue()
    await stream.subscribe(shared, other)
    await stream.take(2)
    response = await watching.get(f"/v1/tasks/{shared}/stream")
    await response.content.readline()
    shown = await figures(watching)
    response.close()
    await stream.socket.close()

    assert shown["penstock_streams", "websocket"] == 1
    assert shown["penstock_streams", "event-source"] == 1
    assert shown["penstock_watched_tasks",] == 2
    assert shown["penstock_watches",] == 3
    await watching.app.shutdown()  # an event stream notices a client that is gone when it writes

    async def freed():
        shown = await figures(watching)
        names = ("penstock_watched_tasks", "penstock_watches")
        return (
            all(shown[name,] == 0 for name in names) and shown["penstock_streams", "websocket"] == 0
        )

    await eventually(freed)


async def test_what_is_told_is_counted_by_type_and_its_delay_measured(
    watching, stream, issue, worker
):
    task_id = issue()
    await stream.subscribe(task_id)
    cursor = (await stream.next())["cursor"]
    await worker.log(task_id, "a line")
    await worker.client.publish(f"celery-task-meta-{task_id}", "no record")
    await worker.succeed(task_id)
    await stream.take(2)
    await stream.subscribe(tasks={issue(): cursor})
    await stream.settled()
    shown = await figures(watching)

    assert shown["penstock_stream_messages_total", "state"] == 2
    assert shown["penstock_stream_messages_total", "log"] == 1
    assert shown["penstock_notices_total", "watched"] == 2
    assert shown["penstock_notices_total", "unreadable"] == 1
    assert shown["penstock_stream_subscriptions_total", "new"] == 1
    assert shown["penstock_stream_subscriptions_total", "resumed"] == 1
    assert shown["penstock_notice_seconds_count",] == 2
    assert shown["penstock_notice_seconds_sum",] < 10


async def test_a_lost_connection_and_its_gaps_are_counted(watching, stream, issue, worker):
    await stream.subscribe(issue())
    await stream.next()
    for client in await worker.client.client_list(_type="pubsub"):
        await worker.client.client_kill_filter(_id=client["id"])
    await stream.take(2)
    shown = await figures(watching)

    assert shown["penstock_stream_messages_total", "gap"] == 1
    assert shown["penstock_notice_connections_total", "made"] == 2
    assert shown["penstock_notice_connections_total", "lost"] == 1


async def test_streams_that_the_gateway_ends_are_counted_by_reason(make_watching_gateway):
    client = await make_watching_gateway(StreamLimits(ping_after_s=0.2, dead_after_s=0.6))
    async with client.ws_connect("/v1/stream", autoping=False) as ws:
        await ws.receive(timeout=5)  # a ping that is not answered
        await ws.receive(timeout=5)
    await eventually(lambda: len(client.app[WATCHING].streams) == 0)
    async with client.ws_connect("/v1/stream") as ws:
        await Stream(ws).settled()
        await client.app.shutdown()
        shown = await figures(client)

    assert shown["penstock_streams_closed_total", "silent"] == 1
    assert shown["penstock_streams_closed_total", "shutting-down"] == 1
