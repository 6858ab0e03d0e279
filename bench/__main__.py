"""`python -m bench quick|full|…`: measure, print, write results and charts."""

import argparse
import asyncio
import sys

from bench import submits
from bench.rounds import Plan
from bench.wrk import Load
from devstack.errors import StartError


def main() -> int:
    """Run what the arguments say; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("what", choices=("quick", "full"))
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--connections", type=int, default=256)
    parser.add_argument("--only", default="", help="contestants by name, separated by commas")
    parser.add_argument("--server-cpus", default="", help="processors of the contestants")
    parser.add_argument("--load-cpus", default="", help="processors of the load generator")
    parser.add_argument("--no-save", action="store_true", help="write neither results nor charts")
    options = parser.parse_args()
    plan = Plan(
        rounds=options.rounds or (5 if options.what == "quick" else 7),
        load=Load(
            connections=options.connections,
            seconds=options.seconds or (5.0 if options.what == "quick" else 8.0),
        ),
        server_cpus=options.server_cpus,
        load_cpus=options.load_cpus,
    )
    try:
        asyncio.run(submits.run(options, plan))
    except StartError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
