"""Each way of a client's JSON through a gateway and workers, and what comes out at its end."""

import asyncio
import json
import random
import secrets
from collections.abc import Sequence
from typing import Any

from aiohttp.test_utils import TestClient
from pymongo import AsyncMongoClient

from tests.support.json_shapes import exact, spelled
from tests.support.waiting import eventually

NDJSON = {"Content-Type": "application/x-ndjson"}
JSON = {"Content-Type": "application/json"}
END_S = 60


class Paths:
    """Sends values and says what arrived in their place.

    Args:
        gateway: Where to.
        mongo_url: Where documents end.
        rng: Chooses how JSON is spelled.
    """

    def __init__(self, gateway: TestClient[Any, Any], mongo_url: str, rng: random.Random) -> None:
        self.gateway = gateway
        self.mongo_url = mongo_url
        self.rng = rng

    async def arguments(self, values: Sequence[Any]) -> list[Any]:
        """Arguments by place and by name, through one task to its result."""
        ids = await self._bulk(
            f'{{"task":"demo.everything","args":[{spelled(self.rng, value)}],'
            f'"kwargs":{{"k":{spelled(self.rng, value)}}}}}'
            for value in values
        )
        return [same(one["args"][0], one["kwargs"]["k"]) for one in await self.results(ids)]

    async def retried(self, values: Sequence[Any]) -> list[Any]:
        """Arguments of a task that a worker publishes again."""
        return await self.results(await self.submit("demo.again", values))

    async def delayed(self, values: Sequence[Any]) -> list[Any]:
        """Arguments that a task passes on with `.delay()`, to one that is retried."""
        return await self.results(await self.results(await self.submit("demo.delays", values)))

    async def chained(self, values: Sequence[Any]) -> list[Any]:
        """Arguments of every task of a chain, the first result through two more, and a link."""
        canvases = []
        for value in values:
            text = spelled(self.rng, value)
            link = f'{{"task":"demo.given","args":[{text}],"immutable":true}}'
            canvases.append(
                f'{{"chain":[{{"task":"demo.gives","args":[{text}],"link":[{link}]}},'
                f'{{"task":"demo.takes"}},{{"task":"demo.given"}},'
                f'{{"chain":[{{"task":"demo.given","args":[{text}],"immutable":true}}]}}]}}'
            )
        answers = await self._canvases(canvases)
        every = await asyncio.gather(*(self.results(answer["ids"]) for answer in answers))
        return [same(gives[0], *others) for gives, *others in every]

    async def joined(self, values: Sequence[Any]) -> list[Any]:
        """Results of the header of a chord, in its body."""
        pairs = [(value, values[-place]) for place, value in enumerate(values)]
        answers = await self._canvases(
            '{{"chord":{{"header":[{}],"body":{{"task":"demo.takes_all"}}}}}}'.format(
                ",".join(self._tasks("demo.gives", pair))
            )
            for pair in pairs
        )
        results = await self.results([answer["id"] for answer in answers])
        return [
            first if exact(second) == exact(other) else [first, second]
            for (first, second), (_, other) in zip(results, pairs, strict=True)
        ]

    async def nested(self, values: Sequence[Any]) -> list[Any]:
        """Results of groups in the header of a chord, which workers read again from their records.

        The shape of the body's argument is not what this is about: each leaf is marked.
        """
        answers = await self._canvases(
            f'{{"chord":{{"header":[{{"chain":[{{"task":"demo.given","args":[{{"leaf":'
            f'{spelled(self.rng, value)}}}]}},{{"group":[{{"task":"demo.given"}},'
            f'{{"task":"demo.given"}}]}}]}}],"body":{{"task":"demo.given"}}}}}}'
            for value in values
        )
        results = await self.results([answer["id"] for answer in answers])
        return [same(*leaves(result)) for result in results]

    async def scheduled(self, values: Sequence[Any]) -> list[Any]:
        """Arguments of schedules, as the gateway shows them and as their runs get them."""
        arrived = []
        for place, value in enumerate(values):
            text = spelled(self.rng, value)
            path = f"/v1/schedules/as-sent-{place}"
            body = f'{{"task":"demo.given","args":[{text}],"every":3600}}'
            shown = await self._ask("PUT", path, body, JSON)
            run = await self._ask("POST", f"{path}/run")
            [result] = await self.results([run["id"]])
            arrived.append(same(shown["args"][0], result))
        return arrived

    async def stored(self, documents: Sequence[dict[str, Any]], form: str) -> list[Any]:
        """Documents in MongoDB, in the order in which they were sent.

        Args:
            documents: Those without `_id` come back without.
            form: `ndjson`, `array`, or `single`: a request each, which share batches.
        """
        name = f"as_sent_{secrets.token_hex(4)}"
        texts = [spelled(self.rng, document) for document in documents]
        if form == "single":
            bodies = [(text, JSON) for text in texts]
        elif form == "array":
            bodies = [(f"[{','.join(texts)}]", JSON)]
        else:
            bodies = [("\n".join(texts), NDJSON)]
        query = "" if form == "single" else "?ack=stored&wait=60"
        answers = await asyncio.gather(*(self._ingest(f"{name}{query}", *body) for body in bodies))
        ids = [_id for answer in answers for _id in answer["ids"]]
        assert [answer["failed"] for answer in answers if answer.get("failed")] == []
        client: AsyncMongoClient[Any] = AsyncMongoClient(self.mongo_url)
        async with client:
            collection = client.get_default_database()[name]

            async def every() -> list[dict[str, Any]]:
                found = await collection.find().to_list()
                assert len(found) >= len(ids), (len(found), len(ids))
                return found

            by_id = {exact(one["_id"]): one for one in await eventually(every, END_S, 0.1)}
        arrived = [by_id[exact(_id)] for _id in ids]
        return [
            one if "_id" in sent else {key: one[key] for key in one if key != "_id"}
            for sent, one in zip(documents, arrived, strict=True)
        ]

    async def submit(self, task: str, values: Sequence[Any]) -> list[str]:
        """Submit a task for each value, and return their ids."""
        return await self._bulk(self._tasks(task, values))

    async def results(self, ids: Sequence[str]) -> list[Any]:
        """Results of tasks, once all have ended, and none has failed."""

        async def ended() -> list[dict[str, Any]] | None:
            asked = json.dumps({"ids": list(ids)})
            states = (await self._ask("POST", "/v1/tasks/status?wait=20", asked, JSON))["tasks"]
            final = all(state.get("state") in {"SUCCESS", "FAILURE", "REVOKED"} for state in states)
            return states if final else None

        states = await eventually(ended, END_S, 0.05)
        failed = [state for state in states if state["state"] != "SUCCESS"]
        assert not failed, (len(failed), failed[0])
        return [state["result"] for state in states]

    def _tasks(self, name: str, values: Sequence[Any]) -> list[str]:
        return [f'{{"task":"{name}","args":[{spelled(self.rng, value)}]}}' for value in values]

    async def _bulk(self, tasks: Any) -> list[str]:
        response = await self.gateway.post(
            "/v1/tasks/bulk?outcomes=all", data="\n".join(tasks), headers=NDJSON
        )
        *outcomes, _ = [json.loads(line) for line in (await response.text()).splitlines()]
        refused = [one for one in outcomes if one["status"] != 202]
        assert not refused, refused
        return [one["id"] for one in outcomes]

    async def _canvases(self, canvases: Any) -> list[dict[str, Any]]:
        async def submit(canvas: str) -> dict[str, Any]:
            return await self._ask("POST", "/v1/canvas", canvas, JSON)

        return await asyncio.gather(*map(submit, canvases))

    async def _ingest(self, name: str, body: str, headers: dict[str, str]) -> dict[str, Any]:
        return await self._ask("POST", f"/v1/ingest/{name}", body, headers)

    async def _ask(
        self, method: str, path: str, body: str | None = None, headers: Any = None
    ) -> dict[str, Any]:
        """Ask until it is answered: on a busy machine the gateway refuses now and then."""

        async def answered() -> dict[str, Any] | None:
            response = await self.gateway.request(method, path, data=body, headers=headers)
            answer: dict[str, Any] = json.loads(await response.read())
            if response.status == 503 and answer.get("queued", "no") == "no":
                return None
            assert response.status in {200, 201, 202}, answer
            return answer

        return await eventually(answered, END_S, 0.5)


def leaves(result: Any) -> list[Any]:
    """Return what stands in `{"leaf": …}`, in lists of lists."""
    if isinstance(result, dict):
        return [result["leaf"]]
    return [leaf for one in result for leaf in leaves(one)]


def same(first: Any, *others: Any) -> Any:
    """Return what arrived, or, where not the same arrived at each place, all of it."""
    alike = all(exact(other) == exact(first) for other in others)
    return first if alike else [first, *others]
