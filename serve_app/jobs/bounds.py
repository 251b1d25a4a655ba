"""Conditions on rows of bounded owners and hosts, in SQL for both databases."""

from collections.abc import Mapping
from typing import Any


def within(
    bounds: Mapping[str, int], candidates: str, order: str, column: str = "owner"
) -> tuple[str, dict[str, Any]]:
    """Write the condition that selects at most so many rows of each value of `column` in `bounds`.

    candidates: the `from` and `where` of the rows; order: in which the first ones of a value are taken.
    Returns the condition, which begins with `and`, and its parameters. Other values are unbounded.
    """
    if not bounds:
        return "", {}
    values = sorted(bounds)
    parameters: dict[str, Any] = {f"{column}{n}": value for n, value in enumerate(values)}
    names = ", ".join(f":{column}{n}" for n in range(len(values)))
    either = [f"{column} not in ({names})"]
    for n, value in enumerate(values):
        if bounds[value] > 0:
            parameters[f"{column}_most{n}"] = bounds[value]
            first = f"select id {candidates} and {column} = :{column}{n} order by {order}"
            either.append(f"id in ({first} limit :{column}_most{n})")
    return f"and ({' or '.join(either)})", parameters
