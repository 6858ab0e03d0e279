"""Dead letters removed for good, and their bodies."""

from typing import Any

from tests.support.dead_letters import look, replay


async def discard(client: Any, asked: Any) -> Any:
    async with client.post("/v1/dead-letters/default/discard", json=asked) as answer:
        return answer.status, await answer.json()


async def test_the_letters_that_are_named_go_and_the_others_stay(client, broker):
    for number in range(3):
        await broker.reject(f"letter-{number}")
    await broker.has("default.dead", 3)

    status, done = await discard(client, {"ids": ["letter-1", "none"]})

    assert (status, done) == (
        200,
        {
            "queue": "default",
            "discarded": 1,
            "ids": ["letter-1"],
            "missing": ["none"],
            "remaining": 2,
        },
    )
    assert [one["id"] for one in (await look(client))["letters"]] == ["letter-0", "letter-2"]
    status, done = await discard(client, {"all": True})
    assert (status, done["discarded"], done["remaining"]) == (200, 2, 0)
    await broker.has("default.dead", 0)
    assert await broker.count("default") == 0


async def test_of_all_letters_only_the_first_so_many_go(client, broker):
    for number in range(4):
        await broker.reject(f"letter-{number}")
    await broker.has("default.dead", 4)

    status, done = await discard(client, {"all": True, "at_most": 1})
    assert (status, done["ids"], done["remaining"]) == (200, ["letter-0"], 3)
    done = await replay(client, {"all": True, "at_most": 2})
    assert (done["ids"], done["remaining"]) == (["letter-1", "letter-2"], 1)
    assert [one["id"] for one in (await look(client))["letters"]] == ["letter-3"]
    status, done = await discard(client, {"all": True, "at_most": 9})
    assert (status, done["ids"], done["remaining"]) == (200, ["letter-3"], 0)


async def test_what_is_to_go_is_said_in_one_way(client):
    cases: tuple[Any, ...] = (
        {},
        {"all": False},
        {"ids": ["a"], "all": True},
        {"ids": []},
        {"rate": 1},
        {"at_most": 1},
        {"ids": ["a"], "at_most": 1},
        {"all": True, "at_most": 0},
    )
    for asked in cases:
        status, refused = await discard(client, asked)
        assert (status, refused["code"]) == (400, "invalid-request"), asked


async def test_a_letter_has_its_body_as_json_or_as_text_unless_it_is_long(client, broker):
    await broker.reject("json", body=b'[[1],{},{"chain":null}]')
    await broker.reject("text", body=b"\xffno json")
    await broker.reject("long", body=b"[" + b" " * 70_000 + b"]")
    await broker.has("default.dead", 3)

    as_json, text, long = (await look(client))["letters"]

    assert as_json["body"] == [[1], {}, {"chain": None}]
    assert text["body"] == "\ufffdno json"
    assert "body" not in long
