"""The OpenAPI document as a page: HTML without a script, nothing from elsewhere. Pure."""

import html
import json
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "code,pre{font:13px/1.4 ui-monospace,monospace}summary{cursor:pointer;padding:.3rem 0}"
    "summary b{display:inline-block;min-width:4.5rem}details{border-bottom:1px solid #8884}"
    "pre{overflow:auto;background:#8881;padding:.6rem;border-radius:4px}"
    "table{border-collapse:collapse}td,th{text-align:left;padding:.15rem .8rem .15rem 0;"
    "vertical-align:top;overflow-wrap:anywhere}main{overflow-wrap:anywhere}a{color:#0b6b85}"
    "@media(prefers-color-scheme:dark){body{background:#13181d;color:#e4eaf0}a{color:#5fc3dd}}"
    "@media(max-width:760px){td,tr,tbody,table{display:block}}"
)
_KEYS = (
    "<p>Keys: <code>Authorization: Bearer …</code>. "
    '<a href="/openapi.json">openapi.json</a> is the same for machines.</p>'
)


def page(described: Mapping[str, Any]) -> str:
    """The document as HTML: no script, nothing from elsewhere."""
    info = described["info"]
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8>",
        '<meta name=viewport content="width=device-width">',
        f"<title>{_text(info['title'])} API</title><style>{_STYLE}</style><body><main>",
        f"<h1>{_text(info['title'])} {_text(info['version'])}</h1>",
        f"<p>{_text(info['description'])}</p>",
        _KEYS,
    ]
    by_tag: dict[str, list[str]] = defaultdict(list)
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            by_tag[operation["tags"][0]].append(_operation_html(method, path, operation))
    for tag, operations in by_tag.items():
        parts += [f"<h2>{_text(tag)}</h2>", *operations]
    parts.append("<h2>Schemas</h2>")
    for name, schema in described["components"]["schemas"].items():
        parts.append(
            f"<details id={_text(name)}><summary><code>{_text(name)}</code></summary>"
            f"{_schema_html(schema)}</details>"
        )
    parts.append("</main>")
    return "\n".join(parts)


def _operation_html(method: str, path: str, operation: Mapping[str, Any]) -> str:
    rows = [
        f"<tr><td><code>{_text(one['name'])}</code><td>{one['in']}"
        f"<td>{_text(one.get('description', ''))}"
        for one in operation.get("parameters", ())
    ]
    body = operation.get("requestBody", {}).get("content", {})
    rows += [
        f"<tr><td>body<td>{_text(kind)}<td>{_kind(one)}{_example(one)}"
        for kind, one in body.items()
    ]
    answers = [
        f"<tr><td><b>{status}</b><td>{_text(answer['description'])}<td>"
        + ", ".join(_kind(one) + _example(one) for one in answer.get("content", {}).values())
        for status, answer in operation["responses"].items()
    ]
    return (
        f"<details><summary><b>{method.upper()}</b> <code>{_text(path)}</code> — "
        f"{_text(operation['summary'])}</summary><p>{_text(operation.get('description', ''))}"
        f' <a href="/#/api/{_text(operation["operationId"])}">Try it</a></p>'
        f"<table>{''.join(rows)}</table><table>{''.join(answers)}</table></details>"
    )


def _example(media: Mapping[str, Any]) -> str:
    if "example" not in media:
        return ""
    example = media["example"]
    text = example if isinstance(example, str) else json.dumps(example, indent=2)
    return f"<pre>{_text(text)}</pre>"


def _kind(media: Mapping[str, Any]) -> str:
    schema = media["schema"]
    name = str(schema.get("$ref", schema.get("items", {}).get("$ref", ""))).rpartition("/")[2]
    return f'<a href="#{_text(name)}">{_text(name)}</a>' if name else ""


def _schema_html(schema: Mapping[str, Any]) -> str:
    required = set(schema.get("required", ()))
    rows = [
        f"<tr><td><code>{_text(name)}</code>{' *' if name in required else ''}<td>{_type(one)}"
        f"<td>{_text(one.get('description', ''))}"
        for name, one in schema.get("properties", {}).items()
    ]
    return f"<p>{_text(schema.get('description', ''))}</p><table>{''.join(rows)}</table>"


def _type(schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        return _kind({"schema": schema})
    if "anyOf" in schema:
        return " or ".join(_type(one) for one in schema["anyOf"])
    if "enum" in schema:
        return _text(" | ".join(str(value) for value in schema["enum"][:50]))
    if schema.get("type") == "array":
        return f"array of {_type(schema.get('items', {}))}"
    return _text(str(schema.get("format") or schema.get("type") or "anything"))


def _text(value: str) -> str:
    return html.escape(value)
