"""The secrets of one stack."""

import secrets
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Credentials:
    """Everything secret that a stack needs; random by default."""

    rabbitmq: str = field(default_factory=lambda: secrets.token_urlsafe(18), repr=False)
    redis: str = field(default_factory=lambda: secrets.token_urlsafe(18), repr=False)
    flower: str = field(default_factory=lambda: secrets.token_urlsafe(18), repr=False)
    task_id_keys: str = field(default_factory=lambda: f"0:{secrets.token_hex(32)}", repr=False)
