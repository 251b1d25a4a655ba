"""The token of Ray's token authentication. Anyone who has it may run commands on the cluster.

Found where Ray itself looks for it (https://docs.ray.io/en/latest/ray-security/token-auth.html), without importing Ray.
"""

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

MODE_VARIABLE = "RAY_AUTH_MODE"
TOKEN_VARIABLE = "RAY_AUTH_TOKEN"
PATH_VARIABLE = "RAY_AUTH_TOKEN_PATH"


class TokenError(Exception):
    """The token cannot be read. The message says what to do, and never shows a token."""


@dataclass(frozen=True, slots=True)
class RayToken:
    """A token, and where Ray finds it.

    value: the token, left out of `repr`. is_found_by_ray: whether Ray finds it by itself, so that `serve status` in
    another shell with `RAY_AUTH_MODE=token` does too; False for a token that only one service's environment holds.
    """

    value: str = field(repr=False)
    is_found_by_ray: bool = True

    @property
    def environment(self) -> dict[str, str]:
        """Variables for a process that starts or uses Ray with this token."""
        mode = {MODE_VARIABLE: "token"}
        return mode if self.is_found_by_ray else mode | {TOKEN_VARIABLE: self.value}

    @property
    def headers(self) -> dict[str, str]:
        """HTTP headers for requests to Ray's dashboard."""
        return {"Authorization": f"Bearer {self.value}"}


def find_or_create_token(environment: Mapping[str, str] = os.environ) -> RayToken:
    """Return the token that Ray would use; where there is none, create `~/.ray/auth_token`.

    Ray's order: RAY_AUTH_TOKEN, the file that RAY_AUTH_TOKEN_PATH names, `~/.ray/auth_token`. A home folder that cannot
    be written gives a token that is not saved. Raises TokenError for a blank variable, and for a file that is empty or
    cannot be read.
    """
    if value := environment.get(TOKEN_VARIABLE, ""):
        if not value.strip():
            raise TokenError(f"{TOKEN_VARIABLE} is blank. Put Ray's token into it, or unset it.")
        return RayToken(value.strip())
    if path := environment.get(PATH_VARIABLE, ""):
        return RayToken(_read(Path(path), f"Write a token into it, or unset {PATH_VARIABLE}"))
    home = environment.get("HOME", "")
    if not home:
        return RayToken(_new_token(), is_found_by_ray=False)
    return _in_home(Path(home) / ".ray" / "auth_token")


def token_exists(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether there is a token, readable or not, so that `find_or_create_token` creates none."""
    if environment.get(TOKEN_VARIABLE) or environment.get(PATH_VARIABLE):
        return True
    home = environment.get("HOME", "")
    return bool(home) and (Path(home) / ".ray" / "auth_token").exists()


def _in_home(path: Path) -> RayToken:
    if not path.exists():
        value = _new_token()
        try:
            _create(path, value)
        except OSError:
            return RayToken(value, is_found_by_ray=False)
    return RayToken(_read(path, "Delete it, and a new one is made"))


def _create(path: Path, value: str) -> None:
    """Create the file, whole and readable by its owner alone. A file that another process has created stays."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(value)
        file.flush()
        os.fsync(file.fileno())
    try:
        path.hardlink_to(unfinished)
    except FileExistsError:
        pass
    finally:
        unfinished.unlink()


def _read(path: Path, cure: str) -> str:
    try:
        value = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise TokenError(
            f"Ray's token in {path} cannot be read ({type(error).__name__}). {cure}."
        ) from error
    if not value:
        raise TokenError(f"Ray's token file {path} is empty. {cure}.")
    return value


def _new_token() -> str:
    """256 random bits, as Ray's own."""
    return secrets.token_hex(32)
