"""A Prometheus with the files of `deploy/prometheus`, which scrapes what a test runs."""

import shutil
from pathlib import Path
from typing import Any

import aiohttp

from devstack.children import Child
from devstack.ports import LOOPBACK, free_port
from devstack.product import ROOT
from devstack.programs import child_environment, find_prometheus
from devstack.readiness import http_status, until_ready

SHIPPED = ROOT / "deploy" / "prometheus"
_SHOWN = '["gateway-1:8080", "gateway-2:8080"]'
_SHOWN_HISTORY = '["history:8090"]'
_KEY_FILE = "/etc/prometheus/penstock-key"


def write_configuration(
    folder: Path, *, ports: tuple[int, ...], history: int, key: str, every: str
) -> Path:
    """Write the configuration that is shown, with the addresses of a test in it.

    Args:
        folder: Where to.
        ports: Of the gateways, on loopback.
        history: Port of the history process.
        key: API key of the scrape.
        every: Between two scrapes, and two evaluations of the alerts.
    """
    text = (SHIPPED / "prometheus.yml").read_text(encoding="utf-8")
    assert _SHOWN in text
    assert _SHOWN_HISTORY in text
    assert _KEY_FILE in text
    folder.mkdir(exist_ok=True)
    (folder / "key").write_text(key)
    targets = ", ".join(f'"{LOOPBACK}:{port}"' for port in ports)
    text = text.replace(_SHOWN, f"[{targets}]").replace(_KEY_FILE, str(folder / "key"))
    text = text.replace(_SHOWN_HISTORY, f'["{LOOPBACK}:{history}"]')
    (folder / "prometheus.yml").write_text(text.replace("interval: 15s", f"interval: {every}"))
    shutil.copy(SHIPPED / "penstock.rules.yml", folder)
    return folder / "prometheus.yml"


class Prometheus:
    """A Prometheus.

    Args:
        folder: Its configuration, data and log.
        ports: See `write_configuration`.
        history: See there.
        key: See there.
    """

    def __init__(self, folder: Path, *, ports: tuple[int, ...], history: int, key: str) -> None:
        self._port = free_port()
        configuration = write_configuration(
            folder, ports=ports, history=history, key=key, every="500ms"
        )
        self.child = Child(
            "prometheus",
            [
                find_prometheus(), f"--config.file={configuration}",
                f"--storage.tsdb.path={folder / 'data'}", "--log.level=warn",
                f"--web.listen-address={LOOPBACK}:{self._port}",
            ],
            log=folder / "prometheus.log",
            env=child_environment(),
        )  # fmt: skip

    async def start(self) -> None:
        """Start it and wait until it is ready."""
        self.child.spawn()
        await until_ready(self.child, self._ready, 30.0)

    async def stop(self) -> None:
        """End it; its data is not needed again."""
        await self.child.kill()

    async def query(self, expression: str) -> list[dict[str, Any]]:
        """Return what an expression gives now."""
        found: list[dict[str, Any]] = (await self._get("query", query=expression))["result"]
        return found

    async def rules(self) -> list[dict[str, Any]]:
        """Return every alert, with its state."""
        groups = (await self._get("rules"))["groups"]
        return [rule for group in groups for rule in group["rules"]]

    async def _get(self, path: str, **query: str) -> Any:
        url = f"http://{LOOPBACK}:{self._port}/api/v1/{path}"
        async with aiohttp.ClientSession() as session, session.get(url, params=query) as answer:
            body = await answer.json()
            assert body["status"] == "success", body
            return body["data"]

    async def _ready(self) -> bool:
        return await http_status(f"http://{LOOPBACK}:{self._port}/-/ready") == 200
