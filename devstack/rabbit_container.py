"""RabbitMQ of another version, from a container image, with the interface of `Rabbit`.

For tests and drills on what compose runs: `RABBITMQ_IMAGE=rabbitmq:4.0.5-management make drill`, or
`make cluster-drill`.
"""

import asyncio
import os
import secrets
import signal
import subprocess
from pathlib import Path
from typing import Any

from devstack.children import Child
from devstack.ports import LOOPBACK
from devstack.rabbit import Rabbit, erlang_flags

_DOCKER = ("PATH", "HOME", "DOCKER_HOST", "DOCKER_CONFIG", "DOCKER_CONTEXT")
_STOP_S = 40


class ContainerChild(Child):
    """`docker run` in the foreground; signals go to the program in the container.

    Args:
        container: Name of the container.
        more: As `Child`.
    """

    def __init__(self, container: str, *more: Any, **options: Any) -> None:
        super().__init__(*more, **options)
        self.container = container

    async def stop(self, timeout_s: float = _STOP_S) -> None:
        """Stop the container in order."""
        if self.running:
            await asyncio.to_thread(self.docker, "stop", f"-t={timeout_s:.0f}", self.container)
        await self.kill()

    async def kill(self) -> None:
        """`kill -9` the program; its data stays in the volume."""
        await asyncio.to_thread(self.docker, "rm", "--force", self.container)
        await super().kill()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the program in the container."""
        self.docker("kill", f"--signal={number.name}", self.container)

    def docker(self, *arguments: str) -> None:
        """Run one command; what it says of what is gone already is of no interest."""
        subprocess.run(
            ["docker", *arguments], env=self.env, capture_output=True, check=False, timeout=60
        )


class ContainerRabbit(Rabbit):
    """One RabbitMQ node in a container, on a port of this machine.

    Args:
        folder: Configuration and log.
        image: The container image; it must be there.
        options: As `Rabbit`.
    """

    def __init__(self, folder: Path, *, image: str, **options: Any) -> None:
        super().__init__(folder, **options)
        self.container = f"penstock-rabbitmq-{secrets.token_hex(6)}"
        self.child: ContainerChild = ContainerChild(
            self.container,
            "rabbitmq",
            self._command(image),
            log=self.child.log,
            env=_docker_environment(),
            **({"mark": options["mark"]} if "mark" in options else {}),
        )

    async def stop(self) -> None:
        """Stop it and throw its data away."""
        await super().stop()
        self.child.docker("volume", "rm", "--force", self.container)

    def ctl(self, *arguments: str) -> list[str]:
        """Return the command line of a command of `rabbitmqctl`."""
        return ["docker", "exec", self.container, "rabbitmqctl", *arguments]

    def _command(self, image: str) -> list[str]:
        ports = {5672: self.port, 15672: self.management_port}
        return [
            "docker", "run", "--rm", f"--name={self.container}", "--hostname=rabbitmq",
            *(f"--publish={LOOPBACK}:{ours}:{its}" for its, ours in ports.items()),
            f"--volume={self.container}:/var/lib/rabbitmq",
            f"--volume={self.folder / 'advanced.config'}:/etc/rabbitmq/advanced.config:ro",
            f"--env=RABBITMQ_DEFAULT_USER={self.user}",
            f"--env=RABBITMQ_DEFAULT_PASS={self.password}",
            f"--env=RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS={erlang_flags()}",
            image,
        ]  # fmt: skip


class NeighbourRabbit(Rabbit):
    """One node of a cluster in a container that shares this machine's network and its folder.

    So it has the ports, the port mapper and the files that a process would have.

    Args:
        folder: Data, configuration and log.
        image: The container image; it must be there.
        options: As `Rabbit`.
    """

    def __init__(self, folder: Path, *, image: str, **options: Any) -> None:
        super().__init__(folder, **options)
        container = f"penstock-{options.get('name', 'rabbitmq')}-{secrets.token_hex(6)}"
        ours = {
            name: value
            for name, value in self.child.env.items()
            if name.startswith(("RABBITMQ_", "ERL_")) or name == "HOME"
        }
        self.child: ContainerChild = ContainerChild(
            container,
            self.child.name,
            [
                "docker", "run", "--rm", f"--name={container}", "--network=host",
                f"--user={os.getuid()}:{os.getgid()}", "--entrypoint=rabbitmq-server",
                f"--volume={self.folder}:{self.folder}",
                *(f"--env={name}={value}" for name, value in ours.items()),
                image,
            ],
            log=self.child.log,
            env=_docker_environment(),
            **({"mark": options["mark"]} if "mark" in options else {}),
        )  # fmt: skip

    def ctl(self, *arguments: str) -> list[str]:
        """Return the command line of a command of `rabbitmqctl`."""
        return ["docker", "exec", self.child.container, "rabbitmqctl", *arguments]


def neighbour_for(image: str | None, folder: Path, **options: Any) -> Rabbit:
    """Return a node of a cluster: of this machine's RabbitMQ, or of an image that is named."""
    if image:
        return NeighbourRabbit(folder, image=image, **options)
    return Rabbit(folder, **options)


def rabbit_for(image: str | None, folder: Path, **options: Any) -> Rabbit:
    """Return a node of this machine's RabbitMQ, or of an image's when one is named."""
    if image:
        return ContainerRabbit(folder, image=image, **options)
    return Rabbit(folder, **options)


def _docker_environment() -> dict[str, str]:
    return {name: os.environ[name] for name in _DOCKER if name in os.environ}
