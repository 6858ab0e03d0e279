"""Files of `KEY=VALUE` lines that this package writes: addresses, secrets, API keys."""

import hashlib
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from devstack.credentials import Credentials


def read_settings(path: Path) -> dict[str, str]:
    """Return the values of a file of `KEY=VALUE` lines; of none, when it does not exist."""
    if not path.exists():
        return {}
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {name.strip(): value.strip() for name, _, value in pairs}


def write_settings(path: Path, values: Mapping[str, str]) -> None:
    """Write the file in one step, readable by its owner only."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(f"{name}={value}\n" for name, value in values.items())
    write_private(path, text)


def write_private(path: Path, text: str) -> None:
    """Write a file in one step, readable by its owner only."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.new")
    draft.unlink(missing_ok=True)
    draft.touch(mode=0o600)
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)


def kept_credentials(path: Path) -> Credentials:
    """Return the credentials of earlier starts, made at the first one.

    Args:
        path: The file that keeps them.
    """
    fresh = Credentials()
    values = {
        "RABBITMQ_PASSWORD": fresh.rabbitmq,
        "REDIS_PASSWORD": fresh.redis,
        "FLOWER_PASSWORD": fresh.flower,
        "TASK_ID_KEYS": fresh.task_id_keys,
    } | read_settings(path)
    write_settings(path, values)
    return Credentials(
        rabbitmq=values["RABBITMQ_PASSWORD"],
        redis=values["REDIS_PASSWORD"],
        flower=values["FLOWER_PASSWORD"],
        task_id_keys=values["TASK_ID_KEYS"],
    )


def kept_api_key(folder: Path) -> tuple[str, Path]:
    """Return an API key with all scopes, and the gateway's key file that holds its hash.

    Args:
        folder: Where both are kept from one start to the next.
    """
    path = folder / "api_key"
    key = read_settings(path).get("API_KEY") or new_api_key()
    write_settings(path, {"API_KEY": key})
    keys_file = folder / "keys.toml"
    write_private(keys_file, keys_toml(key))
    return key, keys_file


def new_api_key() -> str:
    """Return a random API key."""
    return f"pk_{secrets.token_urlsafe(32)}"


def keys_toml(key: str) -> str:
    """Return a key file for the gateway (`GATEWAY_KEYS_FILE`) with that one key."""
    return (
        "[[key]]\n"
        'name = "operator"\n'
        f'sha256 = "{hashlib.sha256(key.encode()).hexdigest()}"\n'
        'scopes = ["submit", "read", "ingest", "schedule", "admin"]\n'
    )
