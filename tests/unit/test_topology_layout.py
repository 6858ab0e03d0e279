"""Layout files: the one that ships, and what is said about bad ones."""

from pathlib import Path

import pytest

from topology.errors import TopologyError
from topology.layout import DEFAULT_LAYOUT, load, load_from_env
from topology.route import Route


def write(folder: Path, text: str) -> Path:
    file = folder / "layout.toml"
    file.write_text(text, encoding="utf-8")
    return file


def faults_of(file: Path) -> tuple[str, ...]:
    with pytest.raises(TopologyError) as raised:
        load(file)
    return raised.value.faults


def test_the_layout_that_ships():
    topology = load()

    assert [queue.name for queue in topology.queues.values()] == [
        "default", "coroutines", "high_priority", "mongo_queue", "scripts", "periodic",
        "callbacks", "ranked",
    ]  # fmt: skip
    types = {exchange.name: exchange.type for exchange in topology.exchanges.values()}
    assert types == {
        "tasks": "direct",
        "events": "topic",
        "broadcast": "fanout",
        "dead": "direct",
        "unrouted": "fanout",
        "penstock_delivery": "topic",
    }
    assert {e.name for e in topology.exchanges.values() if e.publishable} == {"tasks", "events"}
    for queue in topology.queues:
        assert topology.match("tasks", queue) == (queue,)
    assert topology.match("events", "documents.cities") == ("mongo_queue",)
    assert topology.match("events", "sensor.eu.temp") == ()


@pytest.mark.parametrize(
    ("task", "exchange", "key", "privileged"),
    [
        ("demo.add", "tasks", "default", False),
        ("demo.sleep", "tasks", "coroutines", False),
        ("documents.store", "events", "documents.unnamed", False),
        ("scripts.run", "tasks", "scripts", True),
        ("periodic.heartbeat", "tasks", "periodic", False),
        ("callbacks.deliver", "tasks", "callbacks", True),
    ],
)
def test_tasks_that_ship_have_routes(task, exchange, key, privileged):
    route = load().route(task)

    assert route is not None
    assert (route.exchange, route.routing_key, route.privileged) == (exchange, key, privileged)


def test_shipped_queues_refuse_at_ten_times_the_gateways_limit():
    topology = load()

    assert topology.queues["default"].limit == 500_000
    assert topology.queues["default"].arguments == {
        "x-queue-type": "quorum",
        "x-max-length": 5_000_000,
        "x-overflow": "reject-publish",
        "x-delivery-limit": 20,
        "x-dead-letter-exchange": "dead",
        "x-dead-letter-routing-key": "default",
        "x-dead-letter-strategy": "at-least-once",
    }
    assert topology.queues["ranked"].arguments == {
        "x-queue-type": "classic",
        "x-max-length": 5_000_000,
        "x-overflow": "reject-publish",
        "x-max-priority": 9,
        "x-dead-letter-exchange": "dead",
        "x-dead-letter-routing-key": "ranked",
    }


def test_topology_file_names_another_layout(tmp_path):
    file = write(tmp_path, "[queues.only]\nlimit = 3\n")

    assert list(load_from_env({"TOPOLOGY_FILE": str(file)}).queues) == ["only"]
    assert load_from_env({}).queues == load(DEFAULT_LAYOUT).queues


def test_a_layout_may_begin_with_a_byte_order_mark(tmp_path):
    file = write(tmp_path, "\ufeff[queues.only]\nlimit = 3\n")

    assert list(load(file).queues) == ["only"]


def test_every_field_can_be_written(tmp_path):
    topology = load(
        write(
            tmp_path,
            """
            [exchanges.picky]
            type = "headers"
            publishable = true
            alternate = "tasks"
            [exchanges.tasks]
            type = "direct"

            [queues.a]
            limit = 7
            delivery_limit = 3
            message_ttl_ms = 1000
            initial_group_size = 5
            leader_locator = "balanced"
            shards = 4
            shard_by = "task_id"
            dead_letter_strategy = "at-most-once"
            overflow = "drop-head"
            bindings = [{ exchange = "picky", arguments = { x-match = "any", a = "b", c = true } }]

            [queues.b]
            type = "classic"
            max_priority = 5
            dead_letter = false

            [[routes]]
            task = "t"
            exchange = ""
            routing_key = "b"
            priority = 3
            expires = 60
            """,
        )
    )

    assert dict(topology.routes[0].defaults) == {"priority": 3, "expires": 60}
    assert topology.queues["a"].arguments == {
        "x-queue-type": "quorum",
        "x-max-length": 70,
        "x-overflow": "drop-head",
        "x-delivery-limit": 3,
        "x-quorum-initial-group-size": 5,
        "x-queue-leader-locator": "balanced",
        "x-message-ttl": 1000,
        "x-dead-letter-exchange": "dead",
        "x-dead-letter-routing-key": "a",
        "x-dead-letter-strategy": "at-most-once",
    }
    assert (topology.queues["a"].shards, topology.shard_by("a")) == (4, "task_id")
    assert "x-dead-letter-exchange" not in topology.queues["b"].arguments
    assert topology.match("picky", "", {"c": True}) == ("a",)


def test_every_fault_of_a_file_is_told_at_once(tmp_path):
    file = write(
        tmp_path,
        """
            version = 1
            [exchanges.untyped]
            [exchanges.tasks]
            type = "direct"
            publishable = "yes"
            alternat = "dead"
            [queues.default]
            limit = true
            bindings = [{ exchange = "nowhere", key = "k" }, 3]
            [queues.other]
            bindings = { exchange = "tasks" }
            [[routes]]
            exchange = "tasks"
            [[routes]]
            task = "t"
            exchange = "tasks"
            routing_key = 5
            """,
    )

    assert faults_of(file) == (
        (
            f"{file}:2: the layout: unknown field 'version'; there are exchanges, queues, routes, "
            "extends, apps"
        ),
        f"{file}:7: exchange 'tasks': unknown field 'alternat'; do you mean 'alternate'?",
        f"{file}:6: exchange 'tasks': publishable must be true or false",
        f"{file}:9: queue 'default': limit must be a whole number",
        f"{file}:10: queue 'default': bindings: entry 2 must be a table",
        f"{file}:12: queue 'other': bindings must be an array of tables",
        f"{file}:13: route 1: task is missing",
        f"{file}:13: route 1: routing_key is missing",
        f"{file}:18: route 2: routing_key must be a string",
        f"{file}:3: exchange 'untyped': type '' is none of direct, topic, fanout, headers",
        f"{file}:10: binding 'nowhere' → 'default': no such exchange",
    )


DIRECT = '[exchanges.t]\ntype = "direct"\n[queues.a]\n'
BAD_KEY = '{ key = "#", exchange = "t" }'


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("[queues.a]\nlimit = 3\n[quues.b]\n", 3, "do you mean 'queues'?"),
        ("[queues.a]\n[queues.a.b]\nx = 1\n", 1, "unknown field 'b'"),
        ("[queues.a]\nlimit = 0\n", 2, "limit is 1 to"),
        ('[queues."a b"]\n\nlimitt = 0\n', 3, "do you mean 'limit'?"),
        ('[[routes]]\ntask = "a"\nexchange = "t"\nrouting_key = "x"\n', 3, "no exchange 't'"),
        ("[queues.a]\nlimit = \n", 2, "Invalid value"),
        (f'{DIRECT}bindings = [{{ key = "a", exchange = "t" }},\n{BAD_KEY}]\n', 5, "is a pattern"),
    ],
)  # fmt: skip
def test_a_fault_names_the_file_the_line_and_the_nearest_key(tmp_path, text, line, words):
    file = write(tmp_path, text)

    assert any(
        fault.startswith(f"{file}:{line}: ") and words in fault for fault in faults_of(file)
    ), faults_of(file)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[queues.a]\n[queues.a]\n", "Cannot declare ('queues', 'a') twice"),
        ("queues = 3", "queues must be tables: [queues.<name>]"),
        ("[queues]\na = 3", "queues.a must be a table"),
        ("routes = 3", "routes must be an array of tables"),
        ("= 1", "Invalid statement"),
    ],
)
def test_a_file_of_another_shape_is_refused(tmp_path, text, fault):
    faults = faults_of(write(tmp_path, text))

    assert len(faults) == 1
    assert fault in faults[0]


def test_a_file_that_cannot_be_read_is_a_topology_error(tmp_path):
    (tmp_path / "latin.toml").write_bytes(b"\xff")

    assert "No such file" in faults_of(tmp_path / "absent.toml")[0]
    assert "utf-8" in faults_of(tmp_path / "latin.toml")[0]


ACME = """
    extends = "default"

    [[routes]]
    task = "acme.*"
    exchange = "tasks"
    routing_key = "default"
    """


def test_a_route_added_to_the_shipped_layout_is_three_lines(tmp_path):
    topology, shipped = load(write(tmp_path, ACME)), load()

    own = Route(task="acme.*", exchange="tasks", routing_key="default")
    assert list(topology.routes) == [own, *shipped.routes]
    assert topology.queues == shipped.queues
    assert topology.exchanges == shipped.exchanges
    assert topology.bindings == shipped.bindings
    assert topology.source == str(tmp_path / "layout.toml")


def test_a_layout_extends_a_file_beside_it_and_its_own_patterns_win(tmp_path):
    write(tmp_path, ACME).rename(tmp_path / "acme.toml")
    topology = load(
        write(
            tmp_path,
            """
            extends = "acme.toml"
            [queues.slow]
            bindings = [{ exchange = "tasks", key = "slow" }]
            [[routes]]
            task = "acme.slow_*"
            exchange = "tasks"
            routing_key = "slow"
            """,
        )
    )

    assert topology.match("tasks", "slow") == ("slow",)
    routed = [topology.route(name) for name in ("acme.slow_one", "acme.other", "demo.add")]
    assert [route and route.routing_key for route in routed] == ["slow", "default", "default"]


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        (
            '[queues.default]\n[[routes]]\ntask = "demo.*"\n[exchanges.dead]\n',
            [
                f"5: exchange 'dead': {DEFAULT_LAYOUT}, which this extends, has it",
                f"2: queue 'default': {DEFAULT_LAYOUT}, which this extends, has it",
                f"3: route 'demo.*': {DEFAULT_LAYOUT}, which this extends, has it",
            ],
        ),
        ("[[routes]]\ntask = 'x'\nexchange = 'tasks'\n", ["2: route 1: routing_key is missing"]),
    ],
)
def test_faults_of_a_layout_that_extends_another_name_its_lines_and_both_files(
    tmp_path, text, faults
):
    file = write(tmp_path, f'extends = "default"\n{text}')

    assert list(faults_of(file)) == [f"{file}:{fault}" for fault in faults]


def test_what_cannot_be_extended_is_said_with_its_line(tmp_path):
    for text, words in [
        ("extends = 3", 'extends must be "default" or the path of a file'),
        ('extends = "absent.toml"', f"there is no file {tmp_path / 'absent.toml'}"),
        ('extends = "layout.toml"', f"{tmp_path / 'layout.toml'} extends this layout"),
    ]:
        file = write(tmp_path, text)
        (fault,) = faults_of(file)
        assert fault.startswith(f"{file}:1: ")
        assert words in fault

    (tmp_path / "base.toml").write_text("[queues.a]\nlimit = 0\n")
    (fault,) = faults_of(write(tmp_path, 'extends = "base.toml"'))
    assert fault.startswith(f"{tmp_path / 'base.toml'}:2: queue 'a': limit")
