"""Arguments against announced signatures: strict, every bad one named, with its place."""

import json
import sys
import time
import tracemalloc
from typing import Any

import msgspec
import pytest

from gateway.errors import Problem
from gateway.submitting.arguments import MAX_FAULTS, decoder
from gateway.submitting.catalog import Catalog
from gateway.submitting.task_request import parse
from penstock.wire.announcements import CATALOG_MAX_AGE_S

INTEGER = {"type": "integer"}
NUMBER = {"type": "number"}
STRING = {"type": "string"}
NOW = time.time()
"""Of the whole file: other tests may run for minutes between its import and its tests."""


def param(name: str, schema: Any, kind: str = "positional_or_keyword", *, required: bool = True):
    return {"name": name, "kind": kind, "required": required, "schema": schema}


def entry(
    task: str, *params: Any, seen: float | None = None, number: int = 0
) -> dict[bytes, bytes]:
    value = {
        "task": task,
        "doc": "",
        "version": "1",
        "seen": NOW if seen is None else seen,
        "coroutine": False,
        "params": params,
        "returns": {},
    }
    return {f"{task}\n{number:012x}".encode(): json.dumps(value).encode()}


def catalog(*entries: dict[bytes, bytes]) -> Catalog:
    made = Catalog()
    made.take({name: value for one in entries for name, value in one.items()}, NOW)
    return made


ADD = entry("demo.add", param("x", INTEGER), param("y", INTEGER))


def refusal(made: Catalog, args: str, kwargs: str = "{}", *, skip: int = 0) -> Problem:
    with pytest.raises(Problem) as refused:
        made.check(
            "demo.add",
            args.encode("utf-8", "surrogateescape"),
            kwargs.encode(),
            skip=skip,
        )
    assert refused.value.queued == "no"
    return refused.value


def places(made: Catalog, args: str, kwargs: str = "{}", **options: Any) -> list[str]:
    problem = refusal(made, args, kwargs, **options)
    assert (problem.code, problem.status) == ("invalid-arguments", 422)
    return [fault.at for fault in problem.faults]


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ("[1,2]", "{}"),
        ("[1]", '{"y":2}'),
        ("[]", '{"y":2,"x":1}'),
        (" [ 1 , -2 ] ", " { } "),
        ("[0,123456789012345678901234567890]", "{}"),
    ],
)
def test_arguments_that_fit_pass(args, kwargs):
    catalog(ADD).check("demo.add", args.encode(), kwargs.encode())


@pytest.mark.parametrize(
    ("args", "kwargs", "at"),
    [
        ("[]", "{}", ["$.kwargs.x", "$.kwargs.y"]),
        ("[1]", "{}", ["$.kwargs.y"]),
        ("[1,2,3,4]", "{}", ["$.args[2]", "$.args[3]"]),
        ('["1","2"]', "{}", ["$.args[0]", "$.args[1]"]),
        ("[1,true]", "{}", ["$.args[1]"]),
        ("[1,1.5]", "{}", ["$.args[1]"]),
        ("[1,1.0]", "{}", ["$.args[1]"]),
        ("[1,1e2]", "{}", ["$.args[1]"]),
        ("[null,2]", "{}", ["$.args[0]"]),
        ("[1,2]", '{"z":3}', ["$.kwargs.z"]),
        ("[1,2]", '{"y":3}', ["$.kwargs.y"]),
        ("[1]", '{"y":"2","z":0}', ["$.kwargs.y", "$.kwargs.z"]),
        ("[[1],{}]", "{}", ["$.args[0]", "$.args[1]"]),
    ],
)
def test_each_argument_that_does_not_fit_is_named(args, kwargs, at):
    assert places(catalog(ADD), args, kwargs) == at


def test_a_fault_inside_an_argument_tells_its_path():
    made = catalog(entry("demo.add", param("rows", {"type": "array", "items": INTEGER})))

    assert places(made, '[[1,"x"]]') == ["$.args[0][1]"]
    assert places(made, "[]", '{"rows":[1,2,null]}') == ["$.kwargs.rows[2]"]


@pytest.mark.parametrize(
    ("schema", "fits", "not_fitting"),
    [
        (NUMBER, ["1", "1.5", "1e3", "-0.0"], ['"1"', "true", "null", "[]", "1e999"]),
        (STRING, ['"a"', '""', '"\\u00e9"'], ["1", "null", "true"]),
        ({"type": "boolean"}, ["true", "false"], ["0", '"true"', "null"]),
        ({"type": "null"}, ["null"], ["0", "false"]),
        ({"type": "array"}, ["[]", '[1,"a"]'], ["{}", '"[]"']),
        ({"type": "object"}, ["{}", '{"a":1}'], ["[]", "null"]),
        (
            {"type": "object", "additionalProperties": INTEGER},
            ["{}", '{"a":1}'],
            ['{"a":"1"}', "[]"],
        ),
        ({"anyOf": [INTEGER, {"type": "null"}]}, ["1", "null"], ['"1"', "1.5"]),
        ({"anyOf": [INTEGER, STRING]}, ["1", '"1"'], ["1.5", "null"]),
        (
            {"anyOf": [{"type": "array", "items": INTEGER}, {"type": "array", "items": STRING}]},
            ["[]", "[1]", '["a"]'],
            ['[1,"a"]', "1", "[true]"],
        ),
        ({"enum": ["a", 1, None]}, ['"a"', "1", "null"], ['"b"', "2", "true"]),
        ({}, ["1", "null", '{"a":[1]}'], []),
        ({"type": "unheard-of"}, ["1"], []),
        ({"anyOf": [INTEGER, {}]}, ["1", '"anything"'], []),
    ],
)
def test_each_schema_takes_what_fits_and_refuses_the_rest(schema, fits, not_fitting):
    made = catalog(entry("demo.add", param("x", schema)))

    for value in fits:
        made.check("demo.add", f"[{value}]".encode(), b"{}")
        made.check("demo.add", b"[]", f'{{"x":{value}}}'.encode())
    for value in not_fitting:
        [at] = places(made, f"[{value}]")
        assert at.startswith("$.args[0]")
        [at] = places(made, "[]", f'{{"x":{value}}}')
        assert at.startswith("$.kwargs.x")


def test_every_kind_of_parameter_is_understood():
    made = catalog(
        entry(
            "demo.add",
            param("a", INTEGER, "positional_only"),
            param("b", INTEGER, required=False),
            param("rest", STRING, "var_positional", required=False),
            param("key", INTEGER, "keyword_only"),
            param("more", NUMBER, "var_keyword", required=False),
        )
    )

    made.check("demo.add", b"[1]", b'{"key":1}')
    made.check("demo.add", b'[1,2,"r","s"]', b'{"key":1,"other":2.5}')
    assert places(made, "[1,2,3]", '{"key":1}') == ["$.args[2]"]
    assert places(made, "[1]") == ["$.kwargs.key"]
    assert places(made, "[1]", '{"key":1,"other":"x"}') == ["$.kwargs.other"]
    assert places(made, "[]", '{"key":1}') == ["$.kwargs.a"]


def test_a_first_parameter_given_by_the_chain_is_left_out():
    made = catalog(ADD)

    made.check("demo.add", b"[2]", b"{}", skip=1)
    made.check("demo.add", b"[]", b'{"y":2}', skip=1)
    assert places(made, "[1,2]", skip=1) == ["$.args[1]"]
    assert places(made, "[]", skip=1) == ["$.kwargs.y"]
    assert places(made, "[]", '{"x":1,"y":2}', skip=1) == ["$.kwargs.x"]


def test_only_so_many_faults_are_told():
    assert len(places(catalog(ADD), json.dumps(["x"] * 5000))) == MAX_FAULTS


@pytest.mark.parametrize("task", ["demo.add", "not.announced"])
@pytest.mark.parametrize(
    ("args", "kwargs", "code"),
    [
        (b"[nul]", b"{}", "malformed-json"),
        (b"[1,2", b"{}", "malformed-json"),
        (b"[1,2]", b'{"x":01}', "malformed-json"),
        (rb'["\ud800"]', b"{}", "malformed-json"),
        (rb'[1,{"k":["\udc00x"]}]', b"{}", "malformed-json"),
        (rb'["\ud83d\u0041"]', b"{}", "malformed-json"),
        (b"[1,2]", rb'{"\ud800":1}', "malformed-json"),
        (b"[" * 200_000 + b"]" * 200_000, b"{}", "malformed-json"),
        (b"[" + b'{"a":' * 200_000 + b"1" + b"}" * 200_000 + b"]", b"{}", "malformed-json"),
    ],
)
def test_what_is_not_json_is_refused_announced_or_not(task, args, kwargs, code):
    with pytest.raises(Problem) as refused:
        catalog(ADD).check(task, args, kwargs)

    assert (refused.value.code, refused.value.queued) == (code, "no")


@pytest.mark.parametrize(
    "args",
    [b"[1e999]", b"[-1E+400]", b"[" + b"9" * 4301 + b"]", b"[" + b"9" * 250 + b"e99]", b'["\xff"]'],
)
def test_what_no_decoder_may_see_is_refused_before_arguments_are_checked(args):
    with pytest.raises(Problem) as refused:
        parse(b'{"task":"not.announced","args":%b}' % args)

    assert refused.value.code == "malformed-json"


def test_large_numbers_that_are_in_range_are_taken():
    args = b'[1e308,-1e308,1e-400,0.%b,%b,"1e999"]' % (b"1" * 400, b"9" * 4300)

    assert bytes(parse(b'{"task":"not.announced","args":%b}' % args).args) == args


@pytest.mark.parametrize(
    ("args", "kwargs", "at"), [(b"{}", b"{}", "$.args"), (b"[]", b"[1]", "$.kwargs")]
)
def test_arguments_of_the_wrong_form_are_an_invalid_request(args, kwargs, at):
    with pytest.raises(Problem) as refused:
        catalog(ADD).check("demo.add", args, kwargs)

    assert refused.value.code == "invalid-request"
    assert [fault.at for fault in refused.value.faults] == [at]


def test_arguments_are_refused_only_when_no_live_schema_fits():
    old = entry("demo.add", param("x", INTEGER), number=1, seen=NOW - 5)
    new = entry("demo.add", param("x", STRING), number=2)
    made = catalog(old, new)

    made.check("demo.add", b"[1]", b"{}")
    made.check("demo.add", b'["a"]', b"{}")
    assert places(made, "[null]") == ["$.args[0]"]
    assert "string" in refusal(made, "[null]").faults[0].detail


def test_an_entry_of_a_worker_that_is_gone_checks_nothing():
    gone = catalog(entry("demo.add", param("x", STRING), seen=NOW - CATALOG_MAX_AGE_S - 1))

    gone.check("demo.add", b"[1,2,3]", b"{}")
    assert gone.tasks == ()


@pytest.mark.parametrize(
    "value",
    [
        b"not json",
        b"[]",
        b"{}",
        b'{"task":"demo.add"}',
        b'{"task":"demo.add","seen":"x","params":[]}',
    ],
)
def test_a_bad_entry_is_passed_over_and_told_once(value, caplog):
    made = Catalog()
    for _ in range(2):
        made.take({b"demo.add\nbad": value, **ADD}, NOW)

    assert made.tasks == ("demo.add",)
    assert [record.message for record in caplog.records] == ["catalog-entry-bad"]


def test_a_signature_is_compiled_once_per_schema():
    made = catalog(ADD)
    before = made.announced("demo.add")[0].signature
    made.take(entry("demo.add", param("x", INTEGER), param("y", INTEGER)), NOW)

    assert made.announced("demo.add")[0].signature is before


_ARRAY = b"[" + b"[]," * 100_000 + b"1]"
_OBJECT = b"{" + b",".join(b'"%d":[]' % number for number in range(100_000)) + b"}"


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"type": "array", "items": {}}, _ARRAY),
        ({"type": "object", "additionalProperties": {}}, _OBJECT),
        ({"anyOf": [{"type": "array", "items": {}}, {"type": "object"}]}, _ARRAY),
        ({"anyOf": [{"type": "array", "items": {}}, {"type": "object"}]}, _OBJECT),
    ],
)
def test_nothing_is_built_of_what_may_hold_anything(schema, text):
    decode = decoder(schema)
    decode(msgspec.Raw(text))
    before = sys.getallocatedblocks()
    value = decode(msgspec.Raw(text))

    assert value is not None
    assert sys.getallocatedblocks() - before < 1000


def test_of_a_great_many_arguments_only_the_first_are_read():
    made = catalog(ADD)
    args = f"[{'1,' * 100_000}1]"
    refusal(made, args)
    tracemalloc.start()
    try:
        found = refusal(made, args)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert [fault.at for fault in found.faults] == [f"$.args[{place}]" for place in range(2, 102)]
    assert most < 1_000_000


def test_of_any_number_of_arguments_thousands_are_read():
    made = catalog(entry("demo.add", param("numbers", INTEGER, "var_positional", required=False)))

    [fault] = refusal(made, f"[{'1,' * 10_000}true,{'1,' * 50_000}1]").faults
    assert fault.at == "$.args[10000]"
