"""`make secrets`: write `.env` for docker compose, and the files in `.secrets/` made from it."""

import hashlib
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


def fill(known: dict[str, str]) -> dict[str, str]:
    """Return the known values, and fresh ones for what is missing.

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
    return fresh | {name: value for name, value in known.items() if value}


def _one_line_keys(api_key: str) -> str:
    """Return a key file as one line: a TOML array of inline tables is the same as `[[key]]`."""
    digest = hashlib.sha256(api_key.encode()).hexdigest()
    scopes = '["submit", "read", "ingest", "schedule", "admin"]'
    return f"""'key = [{{ name = "operator", sha256 = "{digest}", scopes = {scopes} }}]'"""


def write(path: Path) -> list[str]:
    """Write the file, readable by its owner only, and return the names that were added."""
    known = read_settings(path)
    values = fill(known)
    lines = (f"{name}={value}\n" for name, value in values.items())
    write_private(path, _HEADER + "".join(lines))
    return [name for name in values if not known.get(name)]


def main() -> None:
    """Write `.env` and `.secrets/` in the checkout."""
    path = ROOT / ".env"
    added = write(path)
    write_secret_files(ROOT / ".secrets", read_settings(path))
    if added:
        print(f"wrote {', '.join(added)} to {path.name}; the API key is in the clear in API_KEY=")
        print("next: docker compose up -d --build --wait")
    else:
        print(f"{path.name} has everything already", file=sys.stderr)


if __name__ == "__main__":
    main()
