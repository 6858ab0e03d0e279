"""The import table: who may know whom. The architecture, as a test."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OURS = {"penstock", "topology", "gateway", "history", "tasks", "devstack", "tests", "bench"}

PACKAGES: dict[str, set[str]] = {
    "penstock": {
        "penstock", "amqp", "billiard", "celery", "click", "kombu", "opentelemetry", "orjson",
        "redbeat", "redis",
    },
    "topology": {"penstock", "topology", "aio_pika", "aiormq", "amqp", "kombu"},
    "gateway": {
        "gateway", "penstock", "topology", "aiohttp", "aio_pika", "aiormq", "pamqp", "msgspec",
        "multidict", "orjson", "prometheus_client", "redis", "uvloop", "yarl",
    },
    "history": {
        "history", "penstock", "aio_pika", "aiohttp", "bson", "motor", "orjson",
        "prometheus_client", "pymongo", "redis", "uvloop",
    },
    "tasks": {
        "tasks", "penstock", "topology", "bson", "celery", "kombu", "motor", "orjson", "pymongo",
    },
}  # fmt: skip
"""Package → what any of its files may import, besides the standard library."""

LAYERS: dict[str, tuple[set[str], ...]] = {
    "gateway": (
        {"__main__", "app", "command_line", "processes", "server"},
        {"api"},
        {"canvas", "ingesting", "operating", "schedules", "watching"},
        {"submitting"},
        {"endings", "history"},
        {"states"},
        {"access"},
        {"http", "rabbitmq", "redis"},
        {"decoding", "sharing"},
        {"telemetry"},
        {"config"},
        {"cancellation", "errors", "hosts", "timestamps"},
    ),
    "history": (
        {"__main__"},
        {"serving"},
        {"parts", "server"},
        {"health", "queries", "sources"},
        {"keys", "writing"},
        {"config", "database", "faults", "grouping", "metrics", "redis_client"},
    ),
    "tasks": (
        {"worker"},
        {"app"},
        {"registry"},
        {"documents", "periodic", "scripts"},
        {"resources"},
        {"store"},
        {"refusals"},
        {"reasons", "sharing"},
        {"__main__", "encoding"},
        {
            "availability",
            "batch_salvage",
            "config",
            "demo",
            "layout",
            "modules",
            "mongo_user",
            "quiet_logs",
            "script_output",
        },
    ),
    "penstock": (
        {"__main__"},
        {"worker"},
        {"spans"},
        {"redis_connections", "tracing"},
        {"describe", "ending_signals", "looper", "wire"},
        {"backoff"},
    ),
    "penstock.worker": (
        {"checkup"},
        {"app", "installing"},
        {"tracked"},
        {"asyncio_pool"},
        {"consuming"},
        {"beat", "deaths"},
        {"running"},
        {"results"},
        {"ending"},
        {"messages", "tally", "tenancy"},
        {
            "celery_versions",
            "document_troubles",
            "errors",
            "layout",
            "policy",
            "redis_client",
            "request_id",
            "stopping",
            "tls",
            "tracing",
        },
        {"process"},
    ),
}
"""Package → its folders and files, from top to bottom: what stands in a layer imports only from
the layers below its own. The highest layer starts the process, and may know itself."""

HOMES: dict[str, set[str]] = {
    "aio_pika": {"gateway/rabbitmq", "history/sources/events.py", "topology"},
    "aiormq": {"gateway/rabbitmq", "topology"},
    "pamqp": {"gateway/rabbitmq"},
    "redis": {
        "gateway/redis",
        "history/redis_client.py",
        "penstock/redis_connections.py",
        "penstock/worker",
    },
    "opentelemetry": {"penstock/spans.py"},
    "motor": {"history/database.py", "tasks/store.py"},
}
"""Foreign library → the only folders and files that may import it."""

LEAVES = [
    "topology/consistency.py",
    "topology/model.py",
    "topology/layout.py",
    "topology/delay_levels.py",
    "topology/entities.py",
    "topology/route.py",
]
"""Data: the standard library, `penstock.wire` and each other only."""


def sources(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def imports(path: Path) -> tuple[tuple[str, bool], ...]:
    """Each imported module, and whether it stands inside a function."""
    return tuple(_imports(path))


def _imports(path: Path) -> Iterator[tuple[str, bool]]:
    tree = parsed(path)
    inside = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
    }
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = [node.module or ""]
            if node.module in OURS:
                names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            yield name, id(node) in inside


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_only_what_it_may_know(package: str):
    strangers = {
        (str(path.relative_to(ROOT)), name)
        for path in sources(package)
        for name, _ in imports(path)
        if (top := name.split(".")[0]) not in sys.stdlib_module_names
        and top not in PACKAGES[package]
    }

    assert not strangers
    used = {name.split(".")[0] for path in sources(package) for name, _ in imports(path)}
    assert PACKAGES[package] <= used | {package}, "the table allows what nothing imports"


@pytest.mark.parametrize("library", HOMES)
def test_a_foreign_library_stays_in_its_homes(library: str):
    homes = HOMES[library]
    strangers = {
        place
        for package in PACKAGES
        for path in sources(package)
        if any(name.split(".")[0] == library for name, _ in imports(path))
        and not homes & {place := str(path.relative_to(ROOT)), *map(str, Path(place).parents)}
    }

    assert not strangers


def climbs(package: str) -> set[tuple[str, str]]:
    """Imports that do not lead down: the file, and the folder that it may not know."""
    rank = {name: rank for rank, names in enumerate(LAYERS[package]) for name in names}
    folder = ROOT.joinpath(*package.split("."))
    found = set()
    for path in sorted(folder.rglob("*.py")):
        own = path.relative_to(folder).parts[0].removesuffix(".py")
        if own == "__init__":
            continue
        for name, _ in imports(path):
            if not name.startswith(f"{package}."):
                continue
            other = name.removeprefix(f"{package}.").split(".")[0]
            if other == own or not any((folder / each).exists() for each in (other, f"{other}.py")):
                continue
            if rank[other] <= rank[own] and (rank[own] or package != "gateway"):
                found.add((str(path.relative_to(ROOT)), other))
    return found


@pytest.mark.parametrize("package", LAYERS)
def test_a_folder_imports_only_from_the_layers_below(package: str):
    assert not climbs(package)


@pytest.mark.parametrize("package", [*PACKAGES, "devstack", "bench"])
def test_folders_know_each_other_in_one_direction_only(package: str):
    """Of each folder of the package: what stands beside its files and folders, as one unit each."""
    circles = {}
    for folder in [ROOT / package, *(ROOT / package).rglob("*/")]:
        known = neighbours(folder)
        while free := {name for name, others in known.items() if not others & known.keys()}:
            known = {name: others for name, others in known.items() if name not in free}
        if known:
            circles[str(folder.relative_to(ROOT))] = known

    assert not circles


def neighbours(folder: Path) -> dict[str, set[str]]:
    """Return the units of a folder, and which of the others each imports."""
    dotted = ".".join(folder.relative_to(ROOT).parts) + "."
    known: dict[str, set[str]] = {}
    for path in folder.rglob("*.py"):
        own = path.relative_to(folder).parts[0].removesuffix(".py")
        if own != "__init__":
            names = (name for name, _ in imports(path) if name.startswith(dotted))
            others = {name.removeprefix(dotted).split(".")[0] for name in names}
            known.setdefault(own, set()).update(others - {own, "__init__"})
    return known


@pytest.mark.parametrize("leaf", LEAVES)
def test_the_topology_is_data(leaf: str):
    strangers = {
        name.split(".")[0]
        for name, _ in imports(ROOT / leaf)
        if not name.startswith(("topology.", "penstock.wire."))
    }

    assert strangers <= sys.stdlib_module_names


@pytest.mark.parametrize("package", [*PACKAGES, "devstack"])
def test_no_import_stands_inside_a_function(package: str):
    hidden = {
        (str(path.relative_to(ROOT)), name)
        for path in sources(package)
        for name, inside in imports(path)
        if inside
    }

    assert not hidden


def test_there_is_no_import_cycle():
    modules = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for package in [*PACKAGES, "devstack"]
        for path in sources(package)
    }
    graph: dict[str, set[str]] = {}
    for module, path in modules.items():
        graph[module] = set()
        for name, _ in imports(path):
            target = name if name in modules else name.rpartition(".")[0]
            if target in modules and target != module:
                graph[module].add(target)
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, " → ".join([*trail[trail.index(module) :], module])
        if module not in done:
            for target in graph[module]:
                visit(target, (*trail, module))
            done.add(module)

    for module in graph:
        visit(module, ())


@pytest.mark.parametrize("package", PACKAGES)
def test_only_entry_points_read_the_environment(package: str):
    allowed = {"__main__.py", "worker.py"}
    readers = {
        str(path.relative_to(ROOT))
        for path in sources(package)
        if path.name not in allowed and "os.environ" in path.read_text(encoding="utf-8")
    }

    assert readers <= {"gateway/processes.py"}  # hands its environment to its children


PER_REQUEST = {
    "gateway/access/limits.py",  # a lease: awaited by the requests that need it
    "gateway/endings/kept_callbacks.py",  # one write that nobody needs; one publish behind another
    "gateway/api/streams.py",
    "gateway/telemetry/access_log.py",  # the lines of a moment
    "gateway/ingesting/group_commit.py",  # a timer of one group of documents
    "gateway/http/rejected_connection.py",  # cuts one connection
    "gateway/api/bulk_answer.py",  # the outcomes of one request
    "gateway/watching/event_source.py",  # one client
    "gateway/watching/feed.py",  # one client
    "gateway/watching/notices.py",  # beside `_listen`, which raises when one of them fails
    "gateway/states/snapshots.py",  # until nothing waits
    "gateway/watching/sockets.py",  # cuts one connection
    "penstock/worker/asyncio_pool/executor.py",  # one more question of an execution
    "penstock/worker/asyncio_pool/redis_pipe.py",  # until a connection is made, or answers
    "penstock/worker/deaths/isolated.py",  # dies with its parent
    "penstock/worker/messages/connection.py",  # hangs up one connection
    "penstock/worker/stopping.py",  # ends the process
    "penstock/worker/running/runtime.py",  # the event loop's thread, supervised there
    "tasks/scripts.py",  # one task
    "tasks/sharing.py",  # one insert of what was gathered
    "tasks/store.py",  # the farewell of one client
}
"""What starts work of its own that ends with a request, a client or a task."""
RUNNERS = {
    "gateway/app.py",
    "gateway/http/listener.py",
    "gateway/rabbitmq/publisher.py",
    "penstock/looper.py",
    "penstock/worker/consuming/announce.py",
}
"""What runs loopers."""
BEGINNINGS = {"create_task", "ensure_future", "call_later", "call_at", "Thread", "Timer"}


def beginnings(package: str) -> set[str]:
    """Files that begin work beside what calls them."""
    found = set()
    for path in sources(package):
        for node in ast.walk(parsed(path)):
            if not isinstance(node, ast.Call):
                continue
            called = node.func
            name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
            if name in BEGINNINGS:
                found.add(str(path.relative_to(ROOT)))
    return found


def test_whatever_runs_on_its_own_is_a_looper():
    begun = beginnings("gateway") | beginnings("tasks") | beginnings("penstock")

    assert begun <= PER_REQUEST | RUNNERS


def test_the_wire_loads_the_standard_library_only():
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in sources("penstock/wire")
    ]
    program = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); import importlib\n"
        f"for name in {modules!r}: importlib.import_module(name)\n"
        "print(*sys.modules)"
    )
    # Without `site` nothing but the standard library and this tree can be imported.
    loaded = subprocess.run(
        [sys.executable, "-S", "-c", program], capture_output=True, text=True, check=True
    ).stdout.split()

    ours = {name for name in loaded if name.split(".")[0] in OURS}
    assert ours == {*modules, "penstock"}
