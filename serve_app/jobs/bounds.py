"""Conditions on rows of bounded owners, in SQL for both databases."""

from collections.abc import Mapping
from typing import Any


def within(bounds: Mapping[str, int], candidates: str, order: str) -> tuple[str, dict[str, Any]]:
    """Write the condition that selects at most so many rows of each owner in `bounds`.

    candidates: the `from` and `where` of the rows; order: in which an owner's first ones are taken.
    Returns the condition, which begins with `and`, and its parameters. Other owners are unbounded.
    """
    if not bounds:
        return "", {}
    owners = sorted(bounds)
    parameters: dict[str, Any] = {f"owner{n}": owner for n, owner in enumerate(owners)}
    names = ", ".join(f":owner{n}" for n in range(len(owners)))
    either = [f"owner not in ({names})"]
    for n, owner in enumerate(owners):
        if bounds[owner] > 0:
            parameters[f"most{n}"] = bounds[owner]
            first = f"select id {candidates} and owner = :owner{n} order by {order} limit :most{n}"
            either.append(f"id in ({first})")
    return f"and ({' or '.join(either)})", parameters
