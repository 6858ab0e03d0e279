"""Which worker this is, as states in Redis say it: prefork children are their parent's.

And what its threads do, for the log.
"""

import secrets
import sys
import traceback

_tokens = [secrets.token_hex(8)]


def process_token() -> str:
    """Return what no other worker, and no later one, is called."""
    return _tokens[-1]


def adopt_token(token: str) -> None:
    """Become a part of another process, which started this one."""
    _tokens.append(token)


def stack_of(thread_id: int) -> str:
    """Return the stack of a thread of this process, as a traceback has it; empty: it has ended."""
    frame = sys._current_frames().get(thread_id)  # noqa: SLF001  # what the module offers
    return "".join(traceback.format_stack(frame)) if frame is not None else ""
