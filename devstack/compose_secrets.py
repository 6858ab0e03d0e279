"""The files in `.secrets/` that compose gives to its services, made from the values of `.env`.

Files, and not environment variables, because those are shown by `docker inspect` and inherited by
every child; and not compose's `environment:` secrets, because those are copied into the container,
which a read-only root file system refuses.
"""

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

USER = "penstock"


def secret_files(values: Mapping[str, str]) -> dict[str, str]:
    """Return the content of each file by name.

    Args:
        values: of `.env`. Passwords are printable ASCII.
    """
    rabbitmq, redis, mongo = _in_urls(values)
    return {
        "amqp_url": f"amqp://{USER}:{rabbitmq}@rabbitmq:5672/",
        "rabbitmq_management_url": f"http://{USER}:{rabbitmq}@rabbitmq:15672",
        "rabbitmq.conf": f"default_user = {USER}\ndefault_pass = {values['RABBITMQ_PASSWORD']}",
        "redis_url": f"redis://default:{redis}@redis:6379/0",
        "redis.conf": f"requirepass {_redis_word(values['REDIS_PASSWORD'])}",
        "mongo_url": f"mongodb://{USER}:{mongo}@mongo:27017/penstock?authSource=admin",
        "flower_basic_auth": f"{USER}:{values['FLOWER_PASSWORD']}",
        "gateway_keys.toml": values["GATEWAY_KEYS"],
        "task_id_keys": values["TASK_ID_KEYS"],
        "callback_secret": values["CALLBACK_SECRET"],
        "history_secret": values["HISTORY_SECRET"],
    }


def cluster_secret_files(values: Mapping[str, str]) -> dict[str, str]:
    """Return the content of each file of compose.cluster.yaml by name.

    Args:
        values: As for `secret_files`.
    """
    rabbitmq, redis, mongo = _in_urls(values)
    asked = _redis_word(values["REDIS_PASSWORD"])
    queues, sentinels, members = (
        ",".join(f"{name}:{port}" for name in names)
        for names, port in (
            (("rabbitmq", "rabbitmq-2", "rabbitmq-3"), 5672),
            (("sentinel-1", "sentinel-2", "sentinel-3"), 26379),
            (("mongo", "mongo-2", "mongo-3"), 27017),
        )
    )
    own = {
        name: sha256(f"{name} {values['CLUSTER_SECRET']}".encode()).hexdigest()
        for name in ("erlang_cookie", "mongo_keyfile", "sentinel")
    }
    sentinel = [
        f"sentinel auth-pass {USER} {asked}",
        f"requirepass {own['sentinel']}",
        f"sentinel sentinel-pass {own['sentinel']}",
    ]
    return {
        "amqp_url": f"amqp://{USER}:{rabbitmq}@{queues}/",
        "redis_url": f"redis+sentinel://default:{redis}@{sentinels}/{USER}/0"
        f"?sentinel_password={own['sentinel']}",
        "redis.conf": f"requirepass {asked}\nmasterauth {asked}",
        "sentinel.conf": "\n".join(sentinel),
        "mongo_url": f"mongodb://{USER}:{mongo}@{members}/penstock?authSource=admin"
        "&replicaSet=rs0&w=majority",
        "mongo_keyfile": own["mongo_keyfile"],
        "erlang_cookie": own["erlang_cookie"],
    }


def kept_by_servers(folder: Path) -> dict[str, str]:
    """Return those values of `.env` that stored data needs, as `.secrets/` has them.

    RabbitMQ and MongoDB keep the password of their first start, and task ids their key.

    Args:
        folder: `.secrets/`; what it does not have is left out.
    """
    found = {}
    for name, file in (("RABBITMQ_PASSWORD", "amqp_url"), ("MONGO_PASSWORD", "mongo_url")):
        if password := urlsplit(_read(folder / file)).password:
            found[name] = unquote(password)
    if keys := _read(folder / "task_id_keys"):
        found["TASK_ID_KEYS"] = keys
    return found


def write_secret_files(folder: Path, values: Mapping[str, str]) -> list[str]:
    """Write the files, and return which of them are other than before.

    The folder is its owner's alone. The files are readable by all, since a container reads them as
    another user, and are written in place, since a container holds on to the file that it was
    started with: the gateway notices a changed key file at once.
    """
    changed = _write(folder, secret_files(values))
    return changed + [
        f"cluster/{name}" for name in _write(folder / "cluster", cluster_secret_files(values))
    ]


def _write(folder: Path, files: Mapping[str, str]) -> list[str]:
    folder.mkdir(mode=0o700, exist_ok=True)
    folder.chmod(0o700)
    changed = [name for name, text in files.items() if _read(folder / name) != text]
    for name in changed:
        with (folder / name).open("w", encoding="utf-8") as file:
            file.write(f"{files[name]}\n")
    for name in files:
        (folder / name).chmod(0o644)
    return changed


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8").removesuffix("\n") if path.exists() else ""


def _in_urls(values: Mapping[str, str]) -> list[str]:
    """Return the passwords of RabbitMQ, Redis and MongoDB as a URL has them."""
    servers = ("RABBITMQ", "REDIS", "MONGO")
    return [quote(values[f"{server}_PASSWORD"], safe="") for server in servers]


def _redis_word(text: str) -> str:
    """Return a word of Redis' configuration."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
