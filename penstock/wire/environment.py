"""Settings in environment variables, read the same way by every process.

A setting stands in the variable `NAME`, or in the file that `NAME_FILE` names: a mounted secret. An
empty variable and an empty file count as unset. White space around a value is no part of it. Both
at once are a fault, and so is a file that cannot be read.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from penstock.wire import hosts, redis_url, tls

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off", ""})


class Environment:
    """Reads typed settings, and gathers what is wrong with them.

    Args:
        environ: variables.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ
        self.faults: list[str] = []
        """A sentence each, without the values of secrets."""

    def text(self, name: str, default: str = "") -> str:
        """Return a setting; the default where it is unset or at fault."""
        value = self.environ.get(name, "").strip()
        file = self.environ.get(f"{name}_FILE", "").strip()
        if value and file:
            self.faults.append(f"{name} and {name}_FILE are both set")
            return default
        if file:
            try:
                value = Path(file).read_text(encoding="utf-8-sig").strip()
            except OSError as error:
                self.faults.append(f"{name}_FILE: {file} cannot be read: {error.strerror}")
            except ValueError:
                self.faults.append(f"{name}_FILE: {file} is not UTF-8 text")
        return value or default

    def host(self, name: str, default: str) -> str:
        """Return an address to listen on; one of IPv6 may stand in brackets, as it does in URLs."""
        return self.text(name, default).removeprefix("[").removesuffix("]")

    def url(self, name: str, default: str, *schemes: str) -> str:
        """Return the URL of a server or cluster, whose scheme, hosts and TLS were looked at.

        Args:
            name: of the setting.
            default: where it is unset or at fault; may be empty.
            schemes: those that it may have.
        """
        value = self.text(name, default)
        if not value:
            return default
        if value.partition("://")[0].lower() not in schemes:
            words = " or ".join(f"{one}://" for one in schemes)
            self.faults.append(f"{name} must begin with {words}")
            return default
        if wrong := hosts.faults(name, value):
            self.faults.extend(wrong)
            return default
        self.faults.extend(tls.faults(name, value))
        return value

    def redis_url(self, name: str, default: str, *, socket: bool = False) -> str:
        """Return the URL of Redis, as `penstock.wire.redis_url` reads it.

        Args:
            name: of the setting.
            default: where it is unset or at fault.
            socket: whether `unix://` will do.
        """
        value = self.text(name, default)
        try:
            redis_url.read(value, socket=socket)
        except ValueError as error:
            self.faults.append(f"{name} {error}")
            return default
        self.faults.extend(tls.faults(name, value))
        return value

    def flag(self, name: str, *, default: bool) -> bool:
        """Return whether a variable says 1, true, yes or on; 0, false, no or off say no."""
        value = self.text(name, "1" if default else "0").lower()
        if value not in _TRUE | _FALSE:
            self.faults.append(f"{name}={value} is neither 1 nor 0")
        return value in _TRUE

    def number(self, name: str, default: int, low: int, high: int) -> int:
        """Return a whole number within bounds, these included."""
        value = self.text(name, str(default))
        if not re.fullmatch("[0-9]{1,18}", value) or not low <= int(value) <= high:
            self.faults.append(f"{name}={value} is not a whole number from {low} to {high}")
            return default
        return int(value)

    def seconds(self, name: str, default: float, *, or_zero: bool = False) -> float:
        """Return seconds, with up to six digits before the point and behind it.

        Args:
            name: of the setting.
            default: where it is unset or at fault.
            or_zero: whether 0 will do.
        """
        value = self.text(name, str(default))
        fits = re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?", value) is not None
        if not fits or (float(value) == 0 and not or_zero):
            bound = "" if or_zero else " above 0"
            self.faults.append(f"{name}={value} is not a number of seconds{bound}")
            return default
        return float(value)

    def key_prefix(self, name: str) -> str:
        """Return what keys in Redis begin with: text without braces, spaces, control characters."""
        value = self.text(name)
        if not re.fullmatch(r"[^\s{}\x00-\x1f\x7f]{0,128}", value):
            self.faults.append(f"{name}={value!r} has spaces or braces, or over 128 characters")
            return ""
        return value

    def pattern(self, name: str, default: str) -> str:
        """Return a regular expression."""
        value = self.text(name, default)
        try:
            re.compile(value)
        except re.error as error:
            self.faults.append(f"{name} is not a regular expression: {error}")
            return default
        return value
