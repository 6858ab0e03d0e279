"""`make secrets`: write `.env` for docker compose, and the files in `.secrets/` made from it."""

import hashlib
import re
import secrets
import sys
from pathlib import Path

from devstack.compose_secrets import write_secret_files
from devstack.settings_files import new_api_key, read_settings, write_private

ROOT = Path(__file__).resolve().parent.parent
"""The checkout. Nothing here needs more than a system's Python: no package, no .venv."""

_HEADER = """\
# Secrets of this deployment, read by docker compose. Written by `make secrets`, which keeps what is
# here and adds what is missing. The services read .secrets/, which it makes from this file: run it
# again after a change. Never commit either; .env.example says what each value is for.
"""
_TABLE = re.compile(r"\{[^{}]*\}")
_OPERATOR = re.compile(r"""\bname\s*=\s*["']operator["']""")
_HASH = re.compile(r"""(\bsha256\s*=\s*["'])[^"']*(["'])""")


def fill(known: dict[str, str]) -> dict[str, str]:
    """Return the known values, and fresh ones for what is missing.

    The key `operator` of GATEWAY_KEYS is always the one of API_KEY: one that was replaced, or
    emptied, is no key any more.

    Args:
        known: What the file holds already.
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
    return fresh | kept


def _one_line_keys(api_key: str) -> str:
    """Return a key file as one line: a TOML array of inline tables is the same as `[[key]]`."""
    scopes = '["submit", "read", "ingest", "schedule", "admin"]'
    return (
        f"""'key = [{{ name = "operator", sha256 = "{_digest(api_key)}", scopes = {scopes} }}]'"""
    )


def _with_key(table: str, api_key: str) -> str:
    """Return the table of a key; the hash of that named `operator` is the API key's."""
    return _HASH.sub(rf"\g<1>{_digest(api_key)}\2", table) if _OPERATOR.search(table) else table


def _digest(api_key: str) -> str:
    return hashlib.sha256(api_key.strip("'\"").encode()).hexdigest()


def write(path: Path) -> list[str]:
    """Write the file, readable by its owner only, and return the names added or changed."""
    known = read_settings(path)
    values = fill(known)
    lines = (f"{name}={value}\n" for name, value in values.items())
    write_private(path, _HEADER + "".join(lines))
    return [name for name in values if known.get(name) != values[name]]


def main() -> None:
    """Write `.env` and `.secrets/` in the checkout."""
    path = ROOT / ".env"
    had_keys = bool(read_settings(path).get("GATEWAY_KEYS"))
    added = write(path)
    write_secret_files(ROOT / ".secrets", read_settings(path))
    if added:
        print(f"wrote {', '.join(added)} to {path.name}; the API key is in the clear in API_KEY=")
        if had_keys and "GATEWAY_KEYS" in added:
            print(
                "GATEWAY_KEYS: the key `operator` is now that of API_KEY, and the one before opens "
                "nothing; gateways that run know it within seconds"
            )
        print("next: docker compose up -d --build --wait")
    else:
        print(f"{path.name} has everything already", file=sys.stderr)


if __name__ == "__main__":
    main()
