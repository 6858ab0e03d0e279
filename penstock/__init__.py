"""What the processes of a deployment share; see `penstock.wire`."""

VERSION = "0.1.0"
"""Of the whole deployment; a test holds it to pyproject.toml."""
