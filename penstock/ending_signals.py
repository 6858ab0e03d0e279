"""Which signals end a process in order."""

import signal


def ending_signals() -> list[signal.Signals]:
    """Return SIGTERM, SIGINT and SIGHUP, which a terminal sends when it is closed.

    Without SIGHUP where it is ignored, as below `nohup`.
    """
    ends = [signal.SIGTERM, signal.SIGINT]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        ends.append(signal.SIGHUP)
    return ends
