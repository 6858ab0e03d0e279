"""States as a client sees them."""


async def show(client, task_id, query=""):
    response = await client.get(f"/v1/tasks/{task_id}{query}")
    return response.status, await response.json()
