"""What follows a task that is published again: new ids, and not an octet of arguments changed."""

import itertools
import json
from typing import Any

import pytest

from gateway.operating.follow_ups import FollowUpsError, renewed
from gateway.rabbitmq.task_message import NOTHING_FOLLOWS


def signature(task_id: str, kind: str | None = None, **members: Any) -> dict[str, Any]:
    found = {"task": f"celery.{kind}" if kind else "t", "args": [], "kwargs": {},
             "subtask_type": kind, **members}  # fmt: skip
    return {**found, "options": {"task_id": task_id, **members.get("options", {})}}


def test_each_signature_has_a_new_id_and_the_old_chord_is_gone():
    inner = signature("i1", options={"link": [signature("i2")], "chord": signature("body")})
    group = signature("g", "group", kwargs={"tasks": [inner, signature("g2")]})
    chord = signature("c", "chord", kwargs={"header": group, "body": signature("body")})
    looks = signature("a", args=[signature("data")], kwargs={"tasks": [signature("data")]})
    embed = {"callbacks": [looks], "errbacks": [signature("e")], "chain": [chord],
             "chord": signature("old")}  # fmt: skip
    numbers = itertools.count()
    issued: dict[str, bool] = {}

    def issue(group: bool) -> str:
        name = f"new{next(numbers)}"
        issued[name] = group
        return name

    text = renewed(json.dumps(embed), issue).decode()
    found = json.loads(text)

    assert found["chord"] is None
    assert found["callbacks"][0]["args"] == [signature("data")]
    assert found["callbacks"][0]["kwargs"] == {"tasks": [signature("data")]}
    new = found["chain"][0]["kwargs"]
    body = new["body"]["options"]["task_id"]
    member = new["header"]["kwargs"]["tasks"][0]["options"]
    assert member["chord"]["options"]["task_id"] == body  # one task, told twice
    assert issued[new["header"]["options"]["task_id"]]
    assert not issued[body]
    for old in ("i1", "i2", "g", "g2", "c", "a", "e", "body"):
        assert f'"task_id": "{old}"' not in text


def test_texts_stay_to_the_octet():
    args = '[1e2,  1.50, 12345678901234567890123, "\\u00e9"]'
    embed = f'{{"chain": [{{"task":"t","args":{args},"options":{{"task_id":"x"}}}}]}}'
    assert args.encode() in renewed(embed, lambda _: "new")
    assert renewed(None, lambda _: "new") == NOTHING_FOLLOWS
    assert renewed("", lambda _: "new") == NOTHING_FOLLOWS
    assert json.loads(renewed("{}", lambda _: "new")) == json.loads(NOTHING_FOLLOWS)


@pytest.mark.parametrize("wrong", ["{", "[]", "5", '{"chain": [', "[" * 100_000])
def test_what_celery_does_not_write_is_refused(wrong: str):
    with pytest.raises(FollowUpsError):
        renewed(wrong, lambda _: "new")
