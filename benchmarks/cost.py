"""Estimate time and cost of a 30 s track on GPUs from the bytes that its steps read.

python -m benchmarks.cost [--together 1 16]

Decoding is memory-bound. The floor of a step is the time to read the weights once, and the keys and
values so far of each request; all other work is neglected. Prices, bandwidths and measured times
are in benchmarks/cards.yaml. Measured cards show their measured time, others the floor divided by
the mean share of it that measured cards reach. The last line is JSON.
"""

import argparse
import statistics
from pathlib import Path
from typing import Any

import yaml

from benchmarks.peers import SCALES, Scale
from benchmarks.report import print_result, summary
from serve_app.models.musicgen.kv_cache import ROWS

CARDS = Path(__file__).with_name("cards.yaml")
SIZES = ("small", "medium", "large")
TRACK_S = 30
STEPS = 1503
BYTES = 2  # per number, in fp16
HEADS = 4 * 2048  # outputs


def floor_s(scale: Scale, gigabytes_per_second: float, together: int) -> float:
    """Seconds to read weights, keys and values for `together` tracks at once."""
    d = scale.hidden_size
    # Self-attention 4 d², cross-attention 2 d², feed-forward 8 d².
    weights = scale.num_layers * 14 * d * d + d * HEADS
    keys_and_values = together * ROWS * scale.num_layers * 2 * d * STEPS / 2
    return STEPS * BYTES * (weights + keys_and_values) / gigabytes_per_second / 1e9


def parts_of_floor(cards: dict[str, Any]) -> list[float]:
    """Share of the floor for each measurement: floor time / measured time."""
    found = []
    for card, by_size in cards["measured"].items():
        bandwidth = cards["cards"][card]["gigabytes_per_second"]
        for size, seconds in by_size.items():
            found.append(floor_s(SCALES[size], bandwidth, 1) / seconds)
    return found


def rows(cards: dict[str, Any], together: int) -> list[dict[str, Any]]:
    """One row for each card and size: seconds for `together` tracks, and dollars per track."""
    part = statistics.mean(parts_of_floor(cards) or [cards["assumed_part_of_floor"]])
    return [row(cards, name, size, together, part) for name in cards["cards"] for size in SIZES]


def row(cards: dict[str, Any], name: str, size: str, together: int, part: float) -> dict[str, Any]:
    """The row of one card and size. part: assumed share of the floor, if not measured."""
    card = cards["cards"][name]
    floor = floor_s(SCALES[size], card["gigabytes_per_second"], together)
    measured = cards["measured"].get(name, {}).get(size) if together == 1 else None
    seconds = measured or floor / part
    return {
        "card": name,
        "size": size,
        "together": together,
        "floor_s": round(floor, 2),
        "seconds": round(seconds, 2),
        "dollars": round(seconds / 3600 * card["dollars_per_hour"] / together, 6),
        "source": "measured" if measured else "computed",
    }


def show(table: list[dict[str, Any]]) -> None:
    columns = list(table[0])
    print(f"| {' | '.join(columns)} |", "|---" * len(columns) + "|", sep="\n")
    for one in table:
        cells = (f"{value:g}" if isinstance(value, float) else str(value) for value in one.values())
        print(f"| {' | '.join(cells)} |")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cost", description=summary(__doc__))
    parser.add_argument(
        "--together", type=int, nargs="+", default=[1, 16], help="tracks generated at once"
    )
    arguments = parser.parse_args()
    cards = yaml.safe_load(CARDS.read_text())
    found = [one for together in arguments.together for one in rows(cards, together)]
    if not cards["measured"]:
        print(
            f"No card was measured: assuming {cards['assumed_part_of_floor']:.0%} of the floor.\n"
        )
    show(found)
    print_result("cost", track_s=TRACK_S, figures=found)


if __name__ == "__main__":
    main()
