"""Lines of a script, streamed from a real worker to a client that is cut off in the middle."""

from typing import Any

from tests.support.stream_client import Stream


async def test_a_client_that_was_cut_off_gets_every_line_exactly_once(http):
    body = {"task": "scripts.run", "args": ["countdown.sh", ["5"]], "options": {"countdown": 1}}
    async with http.post("/v1/tasks", json=body) as response:
        task_id = (await response.json())["id"]
    told: list[Any] = []
    async with http.ws_connect(f"/v1/stream?ids={task_id}", protocols=["penstock.v1"]) as socket:
        stream = Stream(socket)
        while not any(message["type"] == "log" for message in told):
            told.append(await stream.next(timeout_s=30))
    async with http.ws_connect("/v1/stream", protocols=["penstock.v1"]) as socket:
        stream = Stream(socket)
        await stream.subscribe(tasks={task_id: told[-1]["cursor"]})
        while told[-1].get("state") != "SUCCESS":
            told.append(await stream.next(timeout_s=30))

    states = [message["state"] for message in told if message["type"] == "state"]
    lines = [message["line"] for message in told if message["type"] == "log"]
    assert states == ["PENDING", "STARTED", "SUCCESS"]
    assert "\n".join(lines) + "\n" == told[-1]["result"]["stdout"]
    assert len(lines) >= 5
