"""`make drill`: break everything under load, and account for every receipt."""

import argparse
import asyncio
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench import results
from devstack.drill.faults import FAULTS, STOCK_FAULTS
from devstack.drill.figures import figures
from devstack.drill.report import report
from devstack.drill.run import Settings, drill
from devstack.drill.stock.layout import VERSIONS
from devstack.errors import StartError
from devstack.install import ensure_servers


def main() -> None:
    """Run a drill; the exit status is 1 when something was lost, doubled, or never ended."""
    settings, save = _settings()
    began = time.monotonic()

    def tell(sentence: str) -> None:
        print(f"{time.monotonic() - began:7.1f}  {sentence}", flush=True)

    try:
        ensure_servers()
        tell(f"seed {settings.seed}, data and logs in {settings.folder}")
        result = asyncio.run(drill(settings, tell))
    except StartError as error:
        sys.exit(f"make drill: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
    found = figures(settings, result)
    told = report(found, result.findings)
    (settings.folder / "report.txt").write_text(told + "\n", encoding="utf-8")
    print(told)
    if save is not None:
        print(f"\nwritten: {_save(save, found, result.picture)}")
    print(f"\n{found['faults']} faults; quiet after {result.quiet_after_s:.1f} s; {result.picture}")
    if result.left_out:
        print(f"left out, as time was short: {', '.join(result.left_out)} (--minutes 0: each once)")
    print("FAILED" if result.findings.faults else "nothing lost, nothing twice, everything ended")
    sys.exit(1 if result.findings.faults else 0)


def _save(folder: Path, found: dict[str, Any], picture: Path) -> Path:
    """Write the figures where `python -m bench.measured` finds them, and the timeline beside."""
    name = f"drill-rabbitmq-{found['rabbitmq']}"
    results.draw(name, picture.read_text(encoding="utf-8"), folder)
    return results.save(name, {"goals": [], "drill": found}, {}, folder)


def _settings() -> tuple[Settings, Path | None]:
    parser = argparse.ArgumentParser(prog="python -m devstack.drill", description=__doc__)
    parser.add_argument(
        "--minutes", type=float, default=5.0, help="how long things are broken; 0: each once"
    )
    parser.add_argument("--faults", default="", help="comma-separated; default all")
    parser.add_argument(
        "--stock",
        nargs="?",
        const=",".join(VERSIONS),
        default="",
        metavar="VERSIONS",
        help="stock workers on queues of their own beside ours, of Celery "
        f"{' and '.join(VERSIONS)} unless it says others",
    )
    parser.add_argument(
        "--traces",
        nargs="?",
        type=float,
        const=0.1,
        default=0.0,
        metavar="SHARE",
        help="trace so many of the requests (0.1): each is one connected tree, or it is named why "
        "not",
    )
    parser.add_argument("--seed", type=int, default=None, help="default: another one each time")
    parser.add_argument("--submits", type=float, default=Settings.submits, help="tasks a second")
    parser.add_argument("--ingests", type=float, default=Settings.ingests, help="requests a second")
    parser.add_argument("--batch", type=int, default=Settings.batch, help="documents in a batch")
    parser.add_argument(
        "--pairs", type=float, default=Settings.pairs, help="share of double faults"
    )
    parser.add_argument(
        "--folder",
        type=Path,
        default=None,
        help="where to make a folder for data, logs and timeline.svg",
    )
    parser.add_argument(
        "--save", type=Path, default=None, help="a folder for the figures and the timeline"
    )
    given = parser.parse_args()
    stock = _words(given.stock)
    if strangers := [version for version in stock if version not in VERSIONS]:
        parser.error(f"no workers of {', '.join(strangers)}; there are {', '.join(VERSIONS)}")
    known = {**FAULTS, **(STOCK_FAULTS if stock else {})}
    faults = _words(given.faults) or tuple(known)
    if strangers := [name for name in faults if name not in known]:
        parser.error(f"no fault {', '.join(strangers)}; there are {', '.join(known)}")
    if given.folder:
        given.folder.mkdir(parents=True, exist_ok=True)
    settings = Settings(
        folder=Path(tempfile.mkdtemp(prefix="drill-", dir=given.folder)),
        minutes=given.minutes,
        faults=faults,
        seed=random.randrange(1 << 24) if given.seed is None else given.seed,  # noqa: S311
        submits=given.submits,
        ingests=given.ingests,
        batch=given.batch,
        pairs=given.pairs,
        stock=stock,
        traces=given.traces,
    )
    return settings, given.save


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


if __name__ == "__main__":
    main()
