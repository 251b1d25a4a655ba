"""What a 30 s track takes and costs on GPUs, from the bytes that its steps must read: the floor.

python -m benchmarks.cost [--together 1 16]

Prices, bandwidths and measured times are in benchmarks/cards.yaml. A step reads the weights once and each request's
keys and values so far; nothing else is counted, so the floor is reached by nobody. Cards that were measured are marked
so; others take the mean part of the floor that measured ones reach. The last line is JSON.
"""

import argparse
import statistics
from pathlib import Path
from typing import Any

import yaml

from benchmarks.peers import SCALES, Scale
from benchmarks.report import print_result
from serve_app.models.musicgen.conditioning import ConditioningSpec

CARDS = Path(__file__).with_name("cards.yaml")
TRACK_S, STEPS = 30, 1503
ROWS = ConditioningSpec().branches
BYTES = 2  # of a number in fp16
HEADS = 4 * 2048


def floor_s(scale: Scale, gigabytes_per_second: float, together: int) -> float:
    """Seconds that reading takes for `together` tracks at once."""
    d, layers = scale.hidden_size, scale.num_layers
    weights = layers * 14 * d * d + d * HEADS  # attention 4 + 2, feed-forward 8
    keys_and_values = together * ROWS * layers * 2 * d * STEPS / 2
    return STEPS * BYTES * (weights + keys_and_values) / gigabytes_per_second / 1e9


def parts_of_floor(cards: dict[str, Any]) -> list[float]:
    """Of the measured cards: the floor's seconds by the measured ones."""
    found = []
    for card, by_size in cards["measured"].items():
        for size, seconds in by_size.items():
            found.append(
                floor_s(SCALES[size], cards["cards"][card]["gigabytes_per_second"], 1) / seconds
            )
    return found


def rows(cards: dict[str, Any], together: int) -> list[dict[str, Any]]:
    """By card and size: seconds until `together` tracks are there, dollars of each, and where the figure is from."""
    part = statistics.mean(parts_of_floor(cards) or [cards["assumed_part_of_floor"]])
    table = []
    for name, card in cards["cards"].items():
        for size in ("small", "medium", "large"):
            floor = floor_s(SCALES[size], card["gigabytes_per_second"], together)
            measured = cards["measured"].get(name, {}).get(size) if together == 1 else None
            seconds = measured or floor / part
            table.append(
                {
                    "card": name,
                    "size": size,
                    "together": together,
                    "floor_s": round(floor, 2),
                    "seconds": round(seconds, 2),
                    "dollars": round(seconds / 3600 * card["dollars_per_hour"] / together, 6),
                    "source": "measured" if measured else "computed",
                }
            )
    return table


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.cost", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument(
        "--together", type=int, nargs="+", default=[1, 16], help="tracks made at once"
    )
    arguments = parser.parse_args()
    cards = yaml.safe_load(CARDS.read_text())
    found = [row for together in arguments.together for row in rows(cards, together)]
    if not cards["measured"]:
        print(
            f"No card was measured: {cards['assumed_part_of_floor']:.0%} of the floor is assumed.\n"
        )
    columns = list(found[0])
    print(f"| {' | '.join(columns)} |", "|---" * len(columns) + "|", sep="\n")
    for row in found:
        print(
            f"| {' | '.join(f'{value:g}' if isinstance(value, float) else str(value) for value in row.values())} |"
        )
    print_result("cost", track_s=TRACK_S, figures=found)


if __name__ == "__main__":
    main()
