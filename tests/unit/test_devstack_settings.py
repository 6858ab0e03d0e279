"""The files of `KEY=VALUE` lines."""

import hashlib
import re
import stat
import subprocess
import sys
import tomllib
from inspect import iscoroutinefunction
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from kombu.utils.url import parse_url as kombu_url
from pymongo.uri_parser import parse_uri as mongo_url
from redis.connection import parse_url as redis_url

from devstack.compose_secrets import kept_by_servers, secret_files, write_secret_files
from devstack.dotenv import DotEnv
from devstack.make_secrets import write
from devstack.product import ROOT, gateway_url, workers_for
from devstack.settings_files import kept_api_key, kept_credentials, read_settings
from devstack.stack import Stack
from devstack.welcome import welcome
from gateway.access.keys_file import read_keys
from penstock.wire.names import CALLBACKS_QUEUE
from tasks.registry import TASKS
from topology.layout import load


def test_secrets_are_private_and_the_api_key_is_the_one_that_the_gateway_knows(tmp_path: Path):
    path = tmp_path / ".env"
    assert "API_KEY" in write(path, {})

    values = read_settings(path)
    keys = tomllib.loads(values["GATEWAY_KEYS"].strip("'"))["key"]
    assert keys[0]["sha256"] == hashlib.sha256(values["API_KEY"].encode()).hexdigest()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_secrets_are_made_by_any_python_without_packages():
    command = [sys.executable, "-S", "-c", "import devstack.make_secrets"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr


def test_writing_secrets_again_keeps_them_and_adds_only_what_is_missing(tmp_path: Path):
    path = tmp_path / ".env"
    path.write_text("REDIS_PASSWORD=mine\nFLOWER_PASSWORD=\n")
    added = write(path, {})
    first = read_settings(path)

    assert first["REDIS_PASSWORD"] == "mine"
    assert "REDIS_PASSWORD" not in added
    assert "FLOWER_PASSWORD" in added
    assert write(path, {}) == []
    assert read_settings(path) == first


def keys_of(values: dict[str, str]) -> dict[str, str]:
    found = tomllib.loads(values["GATEWAY_KEYS"].strip("'"))["key"]
    return {one["name"]: one["sha256"] for one in found}


@pytest.mark.parametrize("api_key", ["", "pk_another"])
def test_an_api_key_that_was_emptied_or_replaced_opens_nothing_any_more(
    tmp_path: Path, api_key: str
):
    path = tmp_path / ".env"
    write(path, {})
    first = read_settings(path)
    other = f'{{ name = "reader", sha256 = "{"0" * 64}", scopes = ["read"] }}'
    keys = first["GATEWAY_KEYS"].replace("[{", f"[{other}, {{", 1)
    kept = {name: value for name, value in first.items() if name != "API_KEY"}
    settings = kept | {"GATEWAY_KEYS": keys, "API_KEY": api_key}
    path.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))

    changed = write(path, {})

    values = read_settings(path)
    assert values["API_KEY"] not in {"", first["API_KEY"]}
    digest = hashlib.sha256(values["API_KEY"].encode()).hexdigest()
    assert keys_of(values) == {"operator": digest, "reader": "0" * 64}
    assert set(changed) == {"GATEWAY_KEYS"} | (set() if api_key else {"API_KEY"})
    assert write(path, {}) == []


def test_the_example_makes_a_file_with_which_a_gateway_starts(tmp_path: Path):
    path, keys_file = tmp_path / ".env", tmp_path / "keys.toml"
    path.write_text((ROOT / ".env.example").read_text())
    write(path, {})
    keys_file.write_text(secret_files(DotEnv(path).values)["gateway_keys.toml"])

    assert [one.name for one in read_keys(keys_file).values()] == ["operator"]


def test_secrets_cover_everything_that_the_example_names(tmp_path: Path):
    write(tmp_path / ".env", {})
    example = read_settings(Path(__file__).parents[2] / ".env.example")
    assert set(example) == set(read_settings(tmp_path / ".env"))


WRITTEN = r"""# mine
export REDIS_PASSWORD='a # b'
MONGO_PASSWORD="c\"d" # old
RABBITMQ_PASSWORD= e#f # new
FLOWER_PASSWORD=

API_KEY=one
API_KEY=two
""".replace("\n", "\r\n")


def test_what_people_write_into_env_is_kept_and_read_as_compose_reads_it(tmp_path: Path):
    path = tmp_path / ".env"
    path.write_bytes(f"\ufeff{WRITTEN.strip()}".encode())
    env = DotEnv(path)
    assert env.values == {
        "REDIS_PASSWORD": "a # b", "MONGO_PASSWORD": 'c"d', "RABBITMQ_PASSWORD": "e#f",
        "FLOWER_PASSWORD": "", "API_KEY": "two",
    }  # fmt: skip

    for name, value in {
        "FLOWER_PASSWORD": "p@ss",
        "MONGO_PASSWORD": 'it\'s "$5"',
        "N": "a b",
    }.items():
        env.put(name, value)
    env.write()

    there = WRITTEN.replace('"c\\"d"', '"it\'s \\"\\$5\\""')
    there = there.replace("FLOWER_PASSWORD=", "FLOWER_PASSWORD=p@ss")
    assert path.read_bytes().decode() == f"{there}N='a b'\r\n"
    assert DotEnv(path).values["MONGO_PASSWORD"] == 'it\'s "$5"'


def test_a_password_of_any_characters_arrives_and_what_no_service_takes_is_refused(tmp_path: Path):
    path = tmp_path / ".env"
    odd = "p@ss:w/rd#1?%[+&\\"
    path.write_text("".join(f"{name}_PASSWORD={odd}\n" for name in ("REDIS", "MONGO")))
    write(path, {})
    values = DotEnv(path).values
    assert "RABBITMQ_PASSWORD" in values
    files = secret_files({**values, "RABBITMQ_PASSWORD": odd})

    for name in ("amqp_url", "redis_url", "mongo_url", "rabbitmq_management_url"):
        assert unquote(urlsplit(files[name]).password or "") == odd
    assert kombu_url(files["amqp_url"])["password"] == odd
    assert redis_url(files["redis_url"])["password"] == odd
    assert mongo_url(files["mongo_url"])["password"] == odd

    before = path.read_text()
    for line, fault in {
        "REDIS_PASSWORD='a b'": "REDIS_PASSWORD has white space",
        "RABBITMQ_PASSWORD=a:b": "RABBITMQ_PASSWORD has : ",
        "FLOWER_PASSWORD=a,b": "FLOWER_PASSWORD has a comma",
        "TASK_ID_KEYS=0:abc": "TASK_ID_KEYS: each key is NUMBER:HEX",
        "GATEWAY_KEYS='key = [{ name = \"x\" }]'": "GATEWAY_KEYS: key 1: 'sha256' must be",
        "GATEWAY_KEYS=key": "GATEWAY_KEYS: ",
    }.items():
        path.write_text(f"{before}{line}\n")
        with pytest.raises(SystemExit, match=fault):
            write(path, {})
        assert path.read_text() == f"{before}{line}\n"


def test_what_stored_data_needs_is_not_made_anew_when_it_was_emptied(tmp_path: Path):
    path, folder = tmp_path / ".env", tmp_path / ".secrets"
    write(path, {})
    first = DotEnv(path).values
    assert "amqp_url" in write_secret_files(folder, first)
    assert write_secret_files(folder, first) == []
    path.write_text("TASK_ID_KEYS=\nMONGO_PASSWORD=\nREDIS_PASSWORD=\n")

    write(path, kept_by_servers(folder))

    second = DotEnv(path).values
    kept = {name for name in first if first[name] == second[name]}
    assert kept == {"TASK_ID_KEYS", "MONGO_PASSWORD", "RABBITMQ_PASSWORD"}
    assert {"redis_url", "redis.conf"} <= set(write_secret_files(folder, second))


def test_credentials_and_api_key_are_kept_from_one_start_to_the_next(tmp_path: Path):
    assert kept_credentials(tmp_path / "secrets") == kept_credentials(tmp_path / "secrets")

    key, keys_file = kept_api_key(tmp_path)
    assert kept_api_key(tmp_path) == (key, keys_file)
    digest = hashlib.sha256(key.encode()).hexdigest()
    assert tomllib.loads(keys_file.read_text())["key"][0]["sha256"] == digest


def test_every_queue_of_the_shipped_topology_is_consumed_once():
    workers = workers_for(load().queues)
    assert sorted(queue for worker in workers for queue in worker.queues) == sorted(
        set(load().queues) - {CALLBACKS_QUEUE}
    )
    assert {worker.pool for worker in workers} == {"asyncio", "prefork"}


def test_every_coroutine_that_ships_goes_to_the_asyncio_pool_and_every_function_to_prefork():
    topology = load()
    pools = {queue: spec.pool for spec in workers_for(topology.queues) for queue in spec.queues}

    for spec in TASKS:
        route = topology.route(spec.name)
        assert route is not None
        reached = {pools[queue] for queue in topology.match(route.exchange, route.routing_key)}
        assert reached == {"asyncio" if iscoroutinefunction(spec.run) else "prefork"}, spec.name


def test_a_wildcard_host_is_shown_as_an_address_that_can_be_reached():
    assert gateway_url("0.0.0.0", 80) == "http://127.0.0.1:80"
    assert gateway_url("::", 80) == "http://[::1]:80"
    assert gateway_url("10.0.0.1", 80) == "http://10.0.0.1:80"


def test_the_commands_to_try_carry_the_api_key_when_there_is_one():
    env = {"GATEWAY_URL": "http://127.0.0.1:8080"}
    assert "Authorization" not in welcome(env, ".devstack")
    assert welcome(env | {"API_KEY": "pk_x"}, ".devstack").count("Bearer pk_x") == 4


@pytest.mark.parametrize("name", ["CALLBACK_SECRET", "TASK_ID_KEYS"])
def test_a_secret_of_the_environment_is_kept_by_the_stack(name, tmp_path: Path, monkeypatch):
    monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv(f"{name}_FILE", raising=False)
    assert Stack(tmp_path).env[name]

    monkeypatch.setenv(name, "mine")
    assert Stack(tmp_path).env[name] == "mine"

    monkeypatch.delenv(name)
    monkeypatch.setenv(f"{name}_FILE", "/a/file")
    assert name not in Stack(tmp_path).env


def test_the_database_of_history_is_the_environment_s(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("HISTORY_DATABASE", "mine")

    assert Stack(tmp_path, history=True).env["HISTORY_DATABASE"] == "mine"


def test_every_target_of_the_makefile_is_one_whatever_files_there_are():
    text = (ROOT / "Makefile").read_text()
    [phony] = re.findall(r"^\.PHONY: (.+)$", text, re.MULTILINE)

    assert sorted(phony.split()) == sorted(re.findall(r"^([a-z-]+):", text, re.MULTILINE))
