"""Playing a file with a program of this machine."""

import shutil
import subprocess
from pathlib import Path

from serve_app.cli.console import fail

_PLAYERS = (
    ["ffplay", "-nodisp", "-autoexit", "-loglevel", "error"],
    ["mpv", "--no-video"],
    ["afplay"],
    ["paplay"],
)


def play_file(file: Path) -> None:
    """Play `file` to its end with the first installed player."""
    for player in _PLAYERS:
        if shutil.which(player[0]):
            subprocess.run([*player, str(file)], check=False)
            return
    names = ", ".join(player[0] for player in _PLAYERS)
    fail(f"No player is installed. Install one of {names}, or open {file} yourself.")
