"""Make sure that the machine has the load generator: `python -m bench.install`."""

import os
import shutil
import subprocess
import sys

from bench.wrk import wrk_or_none


def main() -> int:
    """Install wrk from Debian when it is missing; the exit status."""
    if wrk_or_none() is not None:
        return 0
    apt = shutil.which("apt-get")
    rights = [] if os.geteuid() == 0 else ["sudo"]
    if apt is not None and (not rights or shutil.which("sudo")):
        print("installing wrk from Debian …", flush=True)
        quiet = [*rights, "env", "DEBIAN_FRONTEND=noninteractive", apt]
        subprocess.run([*quiet, "update", "-q"], check=False)
        subprocess.run([*quiet, "install", "-q", "-y", "wrk"], check=False)
    if wrk_or_none() is None:
        print("wrk is missing on this machine: apt-get install wrk", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
