"""Which worker this is, as states in Redis say it: prefork children are their parent's."""

import secrets

_tokens = [secrets.token_hex(8)]


def process_token() -> str:
    """Return what no other worker, and no later one, is called."""
    return _tokens[-1]


def adopt_token(token: str) -> None:
    """Become a part of another process, which started this one."""
    _tokens.append(token)
