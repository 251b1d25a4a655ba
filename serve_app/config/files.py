"""The configurations of this package by their names: `nano`, `small`, ...

They are in `configs/` of the repository, and in the wheel inside the package.
"""

from pathlib import Path

_PACKAGE = Path(__file__).parent.parent
_IN_WHEEL = _PACKAGE / "configs"
_IN_REPOSITORY = _PACKAGE.parent / "configs"


def find_config(name: str) -> Path:
    """Return the file of a configuration's name; any other text is the path of a file.

    A name has neither a folder nor a suffix, so that `./nano` is a path.
    """
    return config_files().get(name, Path(name))


def config_files() -> dict[str, Path]:
    """Map the names of the configurations to their files."""
    folder = _IN_WHEEL if _IN_WHEEL.is_dir() else _IN_REPOSITORY
    return {file.stem: file for file in sorted(folder.glob("*.yaml"))}


_NAMES = ", ".join(config_files())
NAMES_HINT = f"This package has: {_NAMES}."
CONFIG_HELP = f"A Serve configuration: {_NAMES}, or the path of a file."
