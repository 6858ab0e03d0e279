"""Canvases as our API takes them, and the same ones as Celery's own objects."""

from typing import Any

from celery import Celery, chain, chord, group
from celery.canvas import Signature


def add(*args: Any, immutable: bool = False, **more: Any) -> dict[str, Any]:
    sig: dict[str, Any] = {"task": "demo.add", "args": list(args), **more}
    return {**sig, "immutable": True} if immutable else sig


def total(**more: Any) -> dict[str, Any]:
    return {"task": "demo.total", **more}


def row(groups: int, *then: dict[str, Any]) -> dict[str, Any]:
    """A chain of groups, each of which begins when the one before it has ended."""
    return {"chain": [{"group": [add(1, 2, immutable=True)] * 2} for _ in range(groups)] + [*then]}


def in_headers(chords: int) -> dict[str, Any]:
    """Chords, each of which begins the header of another."""
    inner = add(1, 2, immutable=True)
    for _ in range(chords):
        inner = {"chord": {"header": [inner, add(1, 2, immutable=True)], "body": total()}}
    return inner


CANVASES: dict[str, dict[str, Any]] = {
    "chain": {"chain": [add(1, 2), add(3), add(4)]},
    "immutable": {"chain": [add(1, 2), add(3, 3, immutable=True), add(4)]},
    "group": {"group": [add(1, 1), add(2, 2), add(3, 3)]},
    "chord": {"chord": {"header": [add(1, 1), add(2, 2)], "body": total()}},
    "group then task": {"chain": [{"group": [add(1, 1), add(2, 2)]}, total()]},
    "task, group, task": {"chain": [add(1, 1), {"group": [add(10), add(20)]}, total()]},
    "task then group": {"chain": [add(1, 1), {"group": [add(10), add(20)]}]},
    "group of chains": {"group": [{"chain": [add(1, 1), add(2)]}, {"chain": [add(3, 3), add(4)]}]},
    "chord of chains": {
        "chord": {
            "header": [{"chain": [add(1, 1), add(2)]}, add(5, 5)],
            "body": {"chain": [total(), add(100)]},
        }
    },
    "chain of two groups": {
        "chain": [
            {"group": [add(1, 1), add(2, 2)]},
            total(),
            {"group": [add(10), add(20)]},
            total(),
            add(1000),
        ]
    },
    "chord in a chord": {
        "chord": {
            "header": [
                {"chord": {"header": [add(1, 1), add(2, 2)], "body": total()}},
                add(3, 3),
            ],
            "body": total(),
        }
    },
    "chord in a chain": {
        "chain": [
            add(1, 1),
            {"chord": {"header": [add(10), add(20)], "body": total()}},
            add(5),
        ]
    },
    "chain in a chain": {"chain": [{"chain": [add(1, 1), add(2)]}, {"chain": [add(3), add(4)]}]},
    "chain in a group in a chain": {
        "chain": [add(1, 1), {"group": [{"chain": [add(1), add(2)]}, add(3)]}, total()]
    },
    "group at the end of a header's chain": {
        "chord": {
            "header": [{"chain": [add(1, 1), {"group": [add(1), add(2)]}]}, add(9, 9)],
            "body": {"task": "demo.echo"},
        }
    },
    "group as a body": {
        "chord": {"header": [add(1, 1), add(2, 2)], "body": {"group": [total(), total()]}}
    },
    "chord as a body": {
        "chord": {
            "header": [add(1, 1), add(2, 2)],
            "body": {"chord": {"header": [total(), total()], "body": total()}},
        }
    },
    "two groups in a row": {
        "chain": [{"group": [add(1, 1), add(2, 2)]}, {"group": [total(), total()]}, total()]
    },
    "two groups in a row, the second of one": {
        "chain": [{"group": [add(1, 1), add(2, 2)]}, {"group": [total()]}]
    },
    "group of one that ends in a group": {
        "group": [{"chain": [add(1, 1), {"group": [add(1), add(2)]}]}]
    },
    "empty group": {"group": []},
    "empty header": {"chord": {"header": [], "body": total()}},
    "empty header, more behind it": {
        "chain": [{"chord": {"header": [], "body": total()}}, add(1), {"group": [add(2), add(3)]}]
    },
    "empty header later": {
        "chain": [add(1, 1), {"chord": {"header": [], "body": total()}}, add(1)]
    },
    "empty header in a header": {
        "chord": {
            "header": [{"chord": {"header": [], "body": total()}}, add(3, 3)],
            "body": total(),
        }
    },
    "empty header with a group as its body": {
        "chord": {
            "header": [
                {"chord": {"header": [], "body": {"group": [total(), total()]}}},
                add(3, 3),
            ],
            "body": {"task": "demo.echo"},
        }
    },
    "empty group in a chain": {"chain": [{"group": []}, add(1, 1), {"group": []}, add(2)]},
    "deep": {
        "chain": [
            {
                "group": [
                    {"chain": [add(1, 1), {"group": [add(1), add(2)]}, total()]},
                    {"chord": {"header": [add(5, 5), add(6, 6)], "body": total()}},
                    add(7, 7),
                ]
            },
            total(),
            {"group": [add(1), {"chain": [add(2), add(3)]}]},
            {"chain": [total(), add(1)]},
        ]
    },
}


LISTS_OF_ONE: dict[str, tuple[dict[str, Any], Any]] = {
    "alone": ({"chain": [{"group": [add(1, 1)]}]}, [2]),
    "first": ({"chain": [{"group": [add(1, 1)]}, total(), add(5)]}, 7),
    "in the middle": ({"chain": [add(1, 1), {"group": [add(10)]}, total(), add(5)]}, 17),
    "last": ({"chain": [add(1, 1), {"group": [add(10)]}]}, [12]),
    "before another": ({"chain": [add(1, 1), {"group": [add(1)]}, {"group": [total()]}]}, [3]),
    "behind a group": (
        {"chain": [add(1, 1), {"group": [add(1), add(2)]}, {"group": [total()]}]}, [7],
    ),
    "of a chain": ({"chain": [add(1, 1), {"group": [{"chain": [add(1), add(2)]}]}]}, [5]),
    "in a group": ({"chain": [add(1, 1), {"group": [{"group": [add(1)]}]}]}, [3]),
    "in an inner chain": ({"chain": [add(1, 1), {"chain": [{"group": [add(1)]}]}, total()]}, 3),
    "in a later header": (
        {"chain": [
            add(1, 1), {"group": [{"chain": [add(1), {"group": [add(2)]}]}, add(3)]},
            {"task": "demo.echo"},
        ]},
        [[5], 5],
    ),
    "in a later group": (
        {"chain": [add(1, 1), {"group": [{"chain": [add(1), {"group": [add(2)]}]}, add(3)]}]},
        [[5], 5],
    ),
    "as a body": ({"chord": {"header": [add(1, 1)], "body": {"group": [total()]}}}, [2]),
    "behind a body": (
        {"chord": {"header": [add(1, 1)], "body": {"chain": [total(), {"group": [add(1)]}]}}}, [3],
    ),
    "in a link": (
        {"chain": [add(1, 1), {"group": [add(1, link={"chain": [add(1), {"group": [add(2)]}]})]}]},
        [3],
    ),
}  # fmt: skip
"""Groups of one in chains, of which Celery's client makes their members, and the results."""


def celerys(node: dict[str, Any], app: Celery) -> Signature:
    """What a Python programmer would have written."""
    match node:
        case {"chain": steps}:
            return chain(*(celerys(step, app) for step in steps))
        case {"group": members}:
            return group(*(celerys(member, app) for member in members), app=app)
        case {"chord": {"header": header, "body": body}}:
            return chord([celerys(member, app) for member in header], celerys(body, app), app=app)
    signature = app.signature(
        node["task"],
        args=tuple(node.get("args", ())),
        kwargs=node.get("kwargs", {}),
        options=dict(node.get("options", {})),
        immutable=node.get("immutable", False),
    )
    for name, link in (("link", signature.link), ("link_error", signature.link_error)):
        links = node.get(name, [])
        for one in links if isinstance(links, list) else [links]:
            linked = celerys(one, app)
            linked.freeze()
            link(linked)
    return signature
