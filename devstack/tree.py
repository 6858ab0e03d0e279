"""`make tree`: writes docs/tree.md from the first sentence of each file."""

import ast
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/tree.md"
PACKAGES = ("penstock", "topology", "gateway", "history", "tasks", "devstack", "bench")
_SECTION = re.compile(r"(<!-- tree:[^\n]*-->\n).*?(<!-- /tree -->)", re.DOTALL)
_WIDTH = 120
_OTHERS = (
    ("console/", "the page at `/`: TypeScript, built by devstack.console"),
    ("tests/", "unit, contract, integration, e2e, faults, fuzz: named by what must be running"),
    ("compose.yaml, compose.cluster.yaml, Dockerfile.*", "the deployment"),
    ("deploy/", "HAProxy and nginx, Prometheus, Grafana, Kubernetes, KEDA: each tested"),
    ("Makefile, .ci/run", "every command; what CI runs"),
    ("requirements.lock", "all pins, with hashes"),
)  # fmt: skip


def tree() -> str:
    """Draw the tree with a line for each file."""
    lines = []
    for package in PACKAGES:
        folder = ROOT / package
        if not (folder / "__init__.py").is_file():
            continue
        lines.append(_line(f"{package}/", _sentence(folder / "__init__.py").upper()))
        for path in sorted(_files(folder)):
            name = path.relative_to(folder).as_posix()
            lines.append(_line(f"  {name}", _sentence(path)))
        lines.append("")
    lines += [_line(name, text) for name, text in _OTHERS]
    return "\n".join(line.rstrip() for line in lines)


def rewrite(text: str) -> str:
    """Return the text of docs/tree.md with the tree as it is now."""
    return _SECTION.sub(lambda found: f"{found[1]}```\n{tree()}\n```\n{found[2]}", text)


def _files(folder: Path) -> list[Path]:
    return [
        path
        for path in folder.rglob("*")
        if path.suffix in {".py", ".toml", ".lua"} and path.name != "__init__.py"
    ]


def _sentence(path: Path) -> str:
    if path.suffix in {".toml", ".lua"}:
        text = path.read_text(encoding="utf-8").splitlines()[0].lstrip("#- ")
    else:
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    first = re.split(r"(?<=[.!?])\s|\n\n", text.strip(), maxsplit=1)[0]
    return " ".join(first.split())


def _line(name: str, text: str) -> str:
    line = f"{name:<30} {text}"
    return line if len(line) <= _WIDTH else line[: _WIDTH - 2].rsplit(" ", 1)[0] + " …"


if __name__ == "__main__":
    PAGE.write_text(rewrite(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    sys.exit(0)
