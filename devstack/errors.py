"""The one error of this package: something could not be started, and what to do about it."""


class StartError(Exception):
    """A server, a process or the machine is not as needed; the message is for the user."""
