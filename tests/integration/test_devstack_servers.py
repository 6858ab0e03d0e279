"""Each server: up, killed, and back on the same data and address."""

from typing import Any

import aio_pika
import aiohttp
import pytest
import redis.asyncio
from pymongo import AsyncMongoClient

from devstack.mongo import Mongo
from devstack.rabbit import Rabbit
from devstack.redis_server import Redis
from tests.support.waiting import eventually


async def test_rabbitmq_keeps_a_confirmed_message_over_kill_nine(rabbit: Rabbit, amqp_url: str):
    connection = await aio_pika.connect(amqp_url)
    async with connection:
        channel = await connection.channel()
        queue = await channel.declare_queue(
            "kept", durable=True, arguments={"x-queue-type": "quorum"}
        )
        await rabbit.settle()
        message = aio_pika.Message(b"hello", delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
        await channel.default_exchange.publish(message, routing_key="kept")

        await rabbit.restart()

    connection = await aio_pika.connect(amqp_url)
    async with connection:
        channel = await connection.channel()
        queue = await channel.get_queue("kept")
        kept = await queue.get(no_ack=True, timeout=30)  # it elects its leader first

        assert kept is not None
        assert kept.body == b"hello"


async def test_rabbitmq_management_answers_with_its_own_user_only(rabbit: Rabbit):
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{rabbit.management_url}/api/overview") as answer:
            assert answer.status == 200
        stranger = f"http://guest:guest@127.0.0.1:{rabbit.management_port}/api/overview"
        async with session.get(stranger) as answer:
            assert answer.status == 401


async def test_each_test_gets_an_empty_virtual_host(amqp_url: str):
    async with await aio_pika.connect(amqp_url) as connection:
        channel = await connection.channel()
        with pytest.raises(aio_pika.exceptions.ChannelNotFoundEntity):
            await channel.get_queue("kept")


async def test_redis_keeps_an_old_write_over_kill_nine(redis_server: Redis, redis_url: str):
    async with redis.asyncio.from_url(redis_url) as client:
        await client.set("a", "1")

        async def on_disk() -> Any:
            info = await client.info("persistence")
            return info["aof_pending_bio_fsync"] == 0 and info["aof_buffer_length"] == 0

        await eventually(on_disk)

    await redis_server.restart()

    async with redis.asyncio.from_url(redis_url) as client:
        assert await client.get("a") == b"1"
        assert (await client.config_get("appendfsync"))["appendfsync"] == "everysec"


async def test_redis_refuses_a_client_without_its_password(redis_server: Redis):
    async with redis.asyncio.from_url(f"redis://127.0.0.1:{redis_server.port}/0") as client:
        with pytest.raises(redis.exceptions.AuthenticationError):
            await client.ping()


async def test_mongodb_keeps_a_journaled_document_over_kill_nine(mongo: Mongo, mongo_url: str):
    async with documents_at(mongo_url) as client:
        collection = client.get_default_database().get_collection("kept")
        await collection.insert_one({"_id": "a"})
        await client.admin.command("fsync")

    await mongo.restart()

    async with documents_at(mongo_url) as client:
        collection = client.get_default_database().get_collection("kept")
        assert await collection.count_documents({}) == 1


def documents_at(url: str) -> AsyncMongoClient[Any]:
    return AsyncMongoClient(url)
