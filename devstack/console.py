"""The console of the gateway, built: `python -m devstack.console`."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from devstack.programs import node_or_none

FOLDER: Final = Path(__file__).resolve().parent.parent / "console"
"""Its sources."""
BUILT: Final = FOLDER / "dist"
"""What gateways serve."""
_SOURCES: Final = ("package.json", "package-lock.json", "build.mjs", "src")
REASON_FILE: Final = "why-not.txt"
"""Why there is nothing else in it; `gateway.api.console` shows it."""
_STAMP: Final = ".built-from"
_INSTALL_TIMEOUT_S: Final = 240.0
_BUILD_TIMEOUT_S: Final = 60.0
_FETCHES: Final = ("--fetch-retries=1", "--fetch-timeout=30000", "--fetch-retry-mintimeout=1000")


class BuildError(Exception):
    """Why there is no console: the gateway's page at `/` shows it."""


def build(*, check: bool = False) -> bool:
    """Build the console unless that was done from the same sources.

    Where it cannot be built, one that was built before stays; with none, the gateway's page says
    why. Nothing is asked of a registry while the lock of the packages stays the same.

    Args:
        check: Whether the packages that only tests need are installed as well.

    Returns:
        Whether the console is there, as its sources are.
    """
    BUILT.mkdir(parents=True, exist_ok=True)
    with (FOLDER / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # `make test` beside `make run`
        try:
            if check:
                _install(omit=())
            if _stamp_of(BUILT) != (wanted := _digest(_sources())):
                if not check:
                    _install(omit=("dev",))
                _run([*_node(), "build.mjs"], _BUILD_TIMEOUT_S)
                (BUILT / _STAMP).write_text(wanted, encoding="utf-8")
        except BuildError as error:
            print(f"the console is not built: {error}", file=sys.stderr, flush=True)
            BUILT.mkdir(exist_ok=True)
            (BUILT / REASON_FILE).write_text(str(error), encoding="utf-8")
            return False
    return True


def node_script(script: str, *arguments: str) -> None:
    """Run a script of an installed package, such as `typescript/bin/tsc`, in the folder.

    Raises:
        BuildError: It failed; has its last words.
    """
    _run([*_node(), f"node_modules/{script}", *arguments], _BUILD_TIMEOUT_S)


def _sources() -> Iterator[Path]:
    for name in _SOURCES:
        path = FOLDER / name
        yield from (sorted(path.rglob("*")) if path.is_dir() else [path])


def _digest(paths: Iterator[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        if path.is_file():
            content = path.read_bytes()
            digest.update(f"{path.relative_to(FOLDER)} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def _stamp_of(folder: Path) -> str:
    stamp = folder / _STAMP
    return stamp.read_text(encoding="utf-8") if stamp.exists() else ""


def _install(omit: tuple[str, ...]) -> None:
    """Install the packages of the lock unless they are there.

    Raises:
        BuildError: There is no npm, or it cannot reach its registry.
    """
    packages = FOLDER / "node_modules"
    lock = _digest(iter([FOLDER / "package-lock.json"]))
    if _stamp_of(packages) in {lock + "dev", lock + "".join(f"-{one}" for one in omit)}:
        return
    npm = _npm()
    print("installing the console's packages with npm …", flush=True)
    _run([*npm, "ci", *_FETCHES, *(f"--omit={one}" for one in omit)], _INSTALL_TIMEOUT_S)
    stamp = lock + ("".join(f"-{one}" for one in omit) or "dev")
    (packages / _STAMP).write_text(stamp, encoding="utf-8")


def _node() -> list[str]:
    node = node_or_none()
    if node is None:
        raise BuildError(
            "node is missing: pip install -r requirements.lock has it for Linux, macOS and Windows"
        )
    return [str(node)]


def _npm() -> list[str]:
    """Return the npm that belongs to our node.

    Raises:
        BuildError: There is none.
    """
    [node] = _node()
    beside = Path(node).parent.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    if beside.exists():
        return [node, str(beside)]
    if found := shutil.which("npm"):
        return [found]
    raise BuildError("npm is missing: pip install -r requirements.lock, or apt-get install npm")


def _run(argv: list[str], timeout_s: float) -> None:
    path = f"{Path(_node()[0]).parent}:{os.environ.get('PATH', '')}"
    try:
        done = subprocess.run(
            argv,
            cwd=FOLDER,
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BuildError(str(error)) from error
    if done.returncode:
        words = (done.stderr.strip() or done.stdout.strip())[-2000:]
        raise BuildError(f"{Path(argv[0]).name} {' '.join(argv[1:3])} failed:\n{words}")


def main() -> None:
    """Build, or say why not."""
    sys.exit(0 if build() else 1)


if __name__ == "__main__":
    main()
