"""Where a caller may send which task, by every way that a request can name a destination."""

import pytest
from celery import Celery

from gateway.access.auth import ANONYMOUS, Caller
from gateway.errors import Problem
from gateway.submitting.destinations import Destinations
from gateway.submitting.task_request import NO_OPTIONS, Options
from topology.entities import Binding, Exchange, Queue
from topology.layout import load
from topology.model import Topology
from topology.route import Route

SHIPPED = load()
WIDE = Topology(
    exchanges=(
        Exchange(name="all", type="fanout", publishable=True),
        Exchange(name="facts", type="topic", publishable=True),
        Exchange(name="first", type="direct", publishable=True, alternate="all"),
    ),
    queues=(Queue(name="callbacks"), Queue(name="scripts"), Queue(name="default")),
    bindings=(
        Binding(exchange="all", queue="callbacks"),
        Binding(exchange="facts", queue="callbacks", key="#.end"),
        Binding(exchange="facts", queue="scripts", key="scripts"),
        Binding(exchange="facts", queue="default", key="*.default"),
    ),
    routes=(
        Route(task="documents.*", exchange="", routing_key="default"),
        Route(task="scripts.run", exchange="facts", routing_key="scripts", privileged=True),
        Route(task="*", exchange="", routing_key="default"),
    ),
)
SCRIPTER = Caller(name="s", tenant="s", scopes=frozenset({"submit"}), tasks=("scripts.run",))


def code(topology: Topology, caller: Caller, task: str, *where: str | None) -> str | None:
    queue, exchange, key = (*where, None, None, None)[:3]
    options = Options(queue=queue, exchange=exchange, routing_key=key)
    try:
        Destinations(topology).resolve(task, options, caller)
    except Problem as problem:
        return problem.code
    return None


@pytest.mark.parametrize("caller", [ANONYMOUS, SCRIPTER])
@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ((), None),
        (("scripts",), None),  # the same place, named
        ((None, "tasks", "scripts"), None),
        (("high_priority",), "forbidden"),
        (("default",), "forbidden"),
        ((None, "tasks", "high_priority"), "forbidden"),
        ((None, "events", "documents.a"), "forbidden"),
        (("callbacks",), "forbidden"),
        (("scripts.dead",), "unknown-queue"),
        ((None, "broadcast", ""), "forbidden"),
    ],
)
def test_a_privileged_task_goes_where_its_route_says(caller, where, expected):
    assert code(SHIPPED, caller, "scripts.run", *where) == expected


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ((None, "facts", "scripts"), None),
        ((None, "facts", "a.default"), "forbidden"),
        ((None, "all", ""), "forbidden"),
        ((None, "first", "none"), "forbidden"),
        (("default",), "forbidden"),
    ],
)
def test_no_exchange_leads_a_privileged_task_elsewhere(where, expected):
    assert code(WIDE, ANONYMOUS, "scripts.run", *where) == expected


@pytest.mark.parametrize(
    "where",
    [
        (), ("mongo_queue",), ("default",), (None, "events", "documents.a"),
        (None, "tasks", "mongo_queue"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("topology", [SHIPPED, WIDE])
def test_documents_are_stored_by_ingest_alone(topology, where):
    named = Caller(name="n", tenant="n", tasks=("documents.store",))

    for caller in (ANONYMOUS, named):
        assert code(topology, caller, "documents.store", *where) == "forbidden"


CELERYS = [name for name in Celery(set_as_current=False).tasks if name.startswith("celery.")]
"""Not those that other tests share with every application of the process."""


@pytest.mark.parametrize("task", sorted(CELERYS))
def test_celerys_own_tasks_which_run_others_by_name_need_a_route_of_their_own(task):
    exact = Topology(
        queues=(Queue(name="q"),), routes=(Route(task=task, exchange="", routing_key="q"),)
    )

    assert code(WIDE, ANONYMOUS, task) == "forbidden"
    assert code(WIDE, SCRIPTER, task) == "forbidden"
    assert code(SHIPPED, ANONYMOUS, task) == "unknown-task"
    assert code(exact, ANONYMOUS, task) is None


@pytest.mark.parametrize(
    ("topology", "where"),
    [
        (SHIPPED, ("callbacks",)),
        (SHIPPED, (None, "tasks", "callbacks")),
        (WIDE, ("callbacks",)),
        (WIDE, (None, "all", "")),
        (WIDE, (None, "facts", "the.end")),
        (WIDE, (None, "first", "none")),
    ],
)
def test_no_task_goes_to_a_queue_that_no_worker_consumes(topology, where):
    assert code(topology, ANONYMOUS, "demo.add", *where) == "forbidden"


def test_a_route_to_the_callbacks_is_refused_as_well():
    assert code(SHIPPED, ANONYMOUS, "callbacks.deliver") == "forbidden"


def test_an_app_may_have_a_queue_of_that_name():
    topology = Topology(
        queues=(Queue(name="callbacks", owner="app", type="classic", dead_letter=False),),
        routes=(Route(task="a.b", exchange="", routing_key="callbacks"),),
    )
    assert code(topology, ANONYMOUS, "a.b") is None
    assert not topology.has_callbacks


@pytest.mark.parametrize(
    ("queues", "where", "expected"),
    [
        (("default",), (), None),
        (("default",), ("high_priority",), "forbidden"),
        (("default",), (None, "tasks", "high_priority"), "forbidden"),
        (("default",), (None, "events", "documents.a"), "forbidden"),
        (("[d]efault",), ("default",), None),
        (("default[",), ("default",), "forbidden"),
        (("mongo*",), (None, "events", "documents.a"), None),
    ],
)
def test_an_allow_list_of_queues_covers_every_way_there(queues, where, expected):
    caller = Caller(name="q", tenant="q", queues=queues, scopes=frozenset({"submit"}))

    assert code(SHIPPED, caller, "demo.add", *where) == expected


def test_privileged_tasks_are_not_broadcast():
    for task in ("scripts.run", "documents.store", "callbacks.deliver"):
        with pytest.raises(Problem, match=r"privileged|alone"):
            Destinations(SHIPPED).everywhere(task, NO_OPTIONS, ANONYMOUS)
    assert not Destinations(SHIPPED).everywhere("demo.add", NO_OPTIONS, ANONYMOUS).queues


def test_a_typo_has_near_names_of_routes_that_the_caller_may_submit():
    names = ("shop.invoice", "shop.invoices", "shop.invite", "other.thing")
    routes = [Route(task=name, exchange="", routing_key="default") for name in names]
    exact = Topology(exchanges=(), queues=(Queue(name="default"),), bindings=(), routes=routes)
    destinations = Destinations(exact)

    def refused(caller: Caller, task: str = "shop.invoise") -> Problem:
        with pytest.raises(Problem) as found:
            destinations.resolve(task, NO_OPTIONS, caller)
        return found.value

    told = refused(ANONYMOUS)
    assert told.members == {"near": ["shop.invoice", "shop.invoices", "shop.invite"]}
    assert "'shop.invoise' (do you mean 'shop.invoice' or 'shop.invoices' or" in str(told)
    one = Caller(name="o", tenant="o", scopes=frozenset({"submit"}), tasks=("shop.invite",))
    assert refused(one).members == {"near": ["shop.invite"]}
    assert not refused(ANONYMOUS, "zzz").members
    for _ in range(60):  # a bulk of typos costs no more than its first ones
        last = refused(ANONYMOUS)
    assert not last.members
