"""`make secrets`: write `.env` for docker compose, and the files in `.secrets/` made from it."""

import hashlib
import re
import secrets
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

from devstack.compose_secrets import kept_by_servers, secret_files, write_secret_files
from devstack.dotenv import DotEnv
from devstack.settings_files import new_api_key
from gateway.access.key_tables import KeysFileError, tables
from gateway.config import ConfigError, GatewayConfig

ROOT = Path(__file__).resolve().parent.parent
"""The checkout. Nothing here needs more than a system's Python 3.11: no package, no .venv."""

_HEADER = """\
# Secrets of this deployment, read by docker compose. Written by `make secrets`, which keeps what is
# here and adds what is missing. The services read .secrets/, which it makes from this file: run it
# again after a change. Never commit either; .env.example says what each value is for.
"""
_TABLE = re.compile(r"\{[^{}]*\}")
_NOT_IN_RABBITMQ = r"""[:#$\\'"]"""
_OPERATOR = re.compile(r"""\bname\s*=\s*["']operator["']""")
_HASH = re.compile(r"""(\bsha256\s*=\s*["'])[^"']*(["'])""")


def fill(known: Mapping[str, str], earlier: Mapping[str, str]) -> dict[str, str]:
    """Return the known values, and for what is missing those of earlier, or else fresh ones.

    The key `operator` of GATEWAY_KEYS is always the one of API_KEY: one that was replaced, or
    emptied, is no key any more.

    Args:
        known: What the file holds already.
        earlier: What a fresh value would lock out of the data that is there.
    """
    api_key = known.get("API_KEY") or new_api_key()
    fresh = {
        "API_KEY": api_key,
        "GATEWAY_KEYS": _one_line_keys(api_key),
        "TASK_ID_KEYS": f"0:{secrets.token_hex(32)}",
        "RABBITMQ_PASSWORD": secrets.token_urlsafe(24),
        "REDIS_PASSWORD": secrets.token_urlsafe(24),
        "MONGO_PASSWORD": secrets.token_urlsafe(24),
        "FLOWER_PASSWORD": secrets.token_urlsafe(24),
        "CALLBACK_SECRET": secrets.token_hex(32),
        "HISTORY_SECRET": secrets.token_hex(32),
        "CLUSTER_SECRET": secrets.token_hex(32),
    }
    kept = {name: value for name, value in known.items() if value}
    if keys := kept.get("GATEWAY_KEYS"):
        kept["GATEWAY_KEYS"] = _TABLE.sub(lambda one: _with_key(one[0], api_key), keys)
    return {**fresh, **earlier, **kept}


def faults(values: Mapping[str, str]) -> Iterator[str]:
    """Give what no service could use, a sentence each, without the values.

    Args:
        values: Of `.env`, none missing.
    """
    for name in ("RABBITMQ", "REDIS", "MONGO", "FLOWER"):
        if not re.fullmatch("[!-~]+", values[f"{name}_PASSWORD"]):
            yield f"{name}_PASSWORD has white space, or characters that are not ASCII"
    if re.search(_NOT_IN_RABBITMQ, values["RABBITMQ_PASSWORD"]):
        yield "RABBITMQ_PASSWORD has : # $ \\ or a quote, which mean something in rabbitmq.conf"
    if "," in values["FLOWER_PASSWORD"]:
        yield "FLOWER_PASSWORD has a comma, where Flower begins another login"
    try:
        tables(tomllib.loads(values["GATEWAY_KEYS"]))
    except KeysFileError as error:
        yield from (f"GATEWAY_KEYS: {fault}" for fault in error.faults)
    except ValueError as error:
        yield f"GATEWAY_KEYS: {error}"
    files = secret_files(values)
    names = ("AMQP_URL", "REDIS_URL", "RABBITMQ_MANAGEMENT_URL", "TASK_ID_KEYS", "CALLBACK_SECRET")
    try:
        GatewayConfig.from_env({name: files[name.lower()] for name in names})
    except ConfigError as error:
        yield from error.faults


def _one_line_keys(api_key: str) -> str:
    """Return a key file as one line: a TOML array of inline tables is the same as `[[key]]`."""
    scopes = '["submit", "read", "ingest", "schedule", "admin"]'
    return f"""key = [{{ name = "operator", sha256 = "{_digest(api_key)}", scopes = {scopes} }}]"""


def _with_key(table: str, api_key: str) -> str:
    """Return the table of a key; the hash of that named `operator` is the API key's."""
    return _HASH.sub(rf"\g<1>{_digest(api_key)}\2", table) if _OPERATOR.search(table) else table


def _digest(api_key: str) -> str:
    return hashlib.sha256(api_key.encode()).hexdigest()


def write(path: Path, earlier: Mapping[str, str]) -> list[str]:
    """Write the file, readable by its owner only, and return the names added or changed.

    Args:
        path: Of the file.
        earlier: As for `fill`.

    Raises:
        SystemExit: What no service could use stands in it; nothing was written.
    """
    file = DotEnv(path, _HEADER)
    known = file.values
    values = fill(known, earlier)
    if found := list(faults(values)):
        raise SystemExit("\n".join([f"{path.name} was left as it is:", *found]))
    changed = [name for name in values if known.get(name) != values[name]]
    for name in changed:
        file.put(name, values[name])
    file.write()
    return changed


def main() -> None:
    """Write `.env` and `.secrets/` in the checkout."""
    path, folder = ROOT / ".env", ROOT / ".secrets"
    known, earlier = DotEnv(path).values, kept_by_servers(folder)
    added = write(path, earlier)
    written = write_secret_files(folder, DotEnv(path).values)
    for name in sorted(earlier.keys() & set(added)):
        print(f"{name} was missing, and is what .secrets/ had: what is stored needs it")
    if added:
        print(f"wrote {', '.join(added)} to {path.name}; the API key is in the clear in API_KEY=")
        if known.get("GATEWAY_KEYS") and "GATEWAY_KEYS" in added:
            print(
                "GATEWAY_KEYS: the key `operator` is now that of API_KEY, and the one before opens "
                "nothing; gateways that run know it within seconds"
            )
    else:
        print(f"{path.name} has everything already", file=sys.stderr)
    if written:
        print(f"wrote {', '.join(written)} in .secrets/; services read them when they start")
        print("next: docker compose up -d --build --wait")


if __name__ == "__main__":
    main()
