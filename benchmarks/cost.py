"""Compute time and cost of a 30 s track on GPUs by the speed model of a step.

python -m benchmarks.cost [--together 1 16] [--update docs/benchmarks.md]

The model is benchmarks/speed_model.py; its constants, prices and goals are in benchmarks/cards.yaml.
Only the decode steps are counted, which text encoder and codec run beside. Computed times have
bounds; a measured one replaces them. `--update` writes the tables into a Markdown file, between two
comments. The last line is JSON.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.peers import SCALES
from benchmarks.report import print_result, summary
from benchmarks.speed_model import SIZES, TRACK_S, Card, SpeedModel, fits, floor_s, load

Row = dict[str, Any]
BEGIN = "<!-- python -m benchmarks.cost --update docs/benchmarks.md -->\n"
END = "<!-- end -->\n"


def rows(model: SpeedModel, together: int) -> list[Row]:
    """One row for each card and size for which so many tracks fit in the card's memory.

    Seconds are for `together` tracks, dollars for one.
    """
    return [
        row(model, card, size, together)
        for card in model.cards.values()
        for size in SIZES
        if fits(card, SCALES[size], together)
    ]


def row(model: SpeedModel, card: Card, size: str, together: int) -> Row:
    """The row of one card and size. Bounds are equal if the time was measured."""
    scale = SCALES[size]
    measured = model.measured.get((card.name, size, together))
    seconds = measured.seconds if measured else model.track_s(card, scale, together)
    error = 0.0 if measured else model.uncertainty
    floor = floor_s(card, scale, together, measured.bandwidth if measured else None)
    return {
        "card": card.name,
        "size": size,
        "together": together,
        "floor_s": round(floor, 2),
        "eager_s": round(model.track_s(card, scale, together, eager=True), 2),
        "seconds": round(seconds, 2),
        "least_s": round(seconds * (1 - error), 2),
        "most_s": round(seconds * (1 + error), 2),
        "share_of_floor": round(floor / seconds, 3),
        "dollars": round(seconds / 3600 * card.dollars_per_hour / together, 6),
        "slots_that_keep_up": model.slots_that_keep_up(card, scale),
        "source": "measured" if measured else "computed",
    }


def goal_rows(model: SpeedModel, goals: Sequence[Mapping[str, Any]]) -> list[Row]:
    """One row for each goal: the goal, the figure beside it, and whether the figure meets it."""
    found = []
    for goal in goals:
        place = {name: goal[name] for name in ("card", "size", "together")}
        made = row(model, model.cards[goal["card"]], goal["size"], goal["together"])
        if "seconds" in goal:
            is_met = made["seconds"] <= goal["seconds"]
            found.append(place | _goal("seconds", goal["seconds"], made["seconds"], is_met))
        if "share" in goal:
            is_met = made["share_of_floor"] >= goal["share"]
            found.append(place | _goal("share", goal["share"], made["share_of_floor"], is_met))
    return found


def _goal(quantity: str, goal: float, figure: float, is_met: bool) -> Row:
    return {"quantity": quantity, "goal": goal, "figure": figure, "met": is_met}


def markdown(table: Sequence[Row]) -> str:
    """Return rows of equal columns as a Markdown table."""
    columns = list(table[0])
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for one in table:
        cells = (_cell(value) for value in one.values())
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def summary_table(model: SpeedModel) -> str:
    """Return the documentation's table: a line for each card, a column for each size."""
    table = []
    for card in model.cards.values():
        alone = {size: _summary(row(model, card, size, 1)) for size in SIZES}
        together = {f"{size}, of 16": _cents(model, card, size, 16) for size in SIZES}
        table.append({"GPU": card.name, **alone, **together})
    return markdown(table)


def _summary(one: Row) -> str:
    seconds = f"{one['eager_s']:.1f} → {one['seconds']:.1f} s"
    return f"{seconds} ({one['share_of_floor']:.0%}), {100 * one['dollars']:.2f}"


def _cents(model: SpeedModel, card: Card, size: str, together: int) -> str:
    if not fits(card, SCALES[size], together):
        return "does not fit"
    return f"{100 * row(model, card, size, together)['dollars']:.3f}"


def update(file: Path, model: SpeedModel, goals: Sequence[Mapping[str, Any]]) -> None:
    """Write the tables into a Markdown file, between BEGIN and END."""
    text = file.read_text()
    before, _, rest = text.partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        raise SystemExit(f"{file} has no place for the tables: add the lines\n{BEGIN}{END}")
    tables = f"{summary_table(model)}\n{markdown(goal_rows(model, goals))}"
    file.write_text(f"{before}{BEGIN}\n{tables}\n{END}{after}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cost", description=summary(__doc__))
    parser.add_argument(
        "--together", type=int, nargs="+", default=[1, 16], help="tracks generated at once"
    )
    parser.add_argument("--update", type=Path, help="Markdown file to write the tables into")
    arguments = parser.parse_args()
    model, goals = load()
    found = [one for together in arguments.together for one in rows(model, together)]
    print(markdown(found))
    print(markdown(goal_rows(model, goals)))
    if arguments.update is not None:
        update(arguments.update, model, goals)
    print_result("cost", track_s=TRACK_S, figures=found, goals=goal_rows(model, goals))


if __name__ == "__main__":
    main()
