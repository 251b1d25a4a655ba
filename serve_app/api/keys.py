"""API keys: who calls."""

import hashlib
import hmac
import logging
import os
import re
from pathlib import Path
from time import monotonic

from serve_app.config import AccessConfig
from serve_app.errors import ConfigError

logger = logging.getLogger(__name__)

_ENTRY = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]{0,63})\s*:\s*([\x21-\x7e]{16,256})")
_CHECK_EVERY_S = 1.0


class KeyRing:
    """The keys by their names, from the environment and from a file that is read again when it changes.

    Raises ConfigError for keys that cannot be read, and where there are none although they are required.
    """

    def __init__(self, config: AccessConfig) -> None:
        self._file = Path(config.keys_file) if config.keys_file else None
        self._fixed = _parse(os.environ.get(config.keys_env, "").split(","), config.keys_env)
        self._version, self._checked_at = self._file_version(), monotonic()
        self._keys = self._fixed | self._read()
        if config.require_keys and not self._keys:
            raise ConfigError(
                "API keys are required, and there are none. Put `name:key` into the environment variable "
                f"{config.keys_env} of the ingress or into api.access.keys_file, or turn api.access.require_keys off."
            )

    @property
    def empty(self) -> bool:
        self._refresh()
        return not self._keys

    def name_of(self, key: str) -> str | None:
        """Whose key it is. Takes as long for a wrong key as for a right one."""
        self._refresh()
        digest, found = _digest(key), None
        for name, expected in self._keys.items():
            if hmac.compare_digest(digest, expected):
                found = name
        return found

    def _refresh(self) -> None:
        if self._file is None or monotonic() - self._checked_at < _CHECK_EVERY_S:
            return
        self._checked_at = monotonic()
        if (version := self._file_version()) == self._version:
            return
        self._version = version
        try:
            self._keys = self._fixed | self._read()
            logger.info("API keys were read again: %d", len(self._keys))
        except ConfigError as error:
            logger.error("The old API keys stay: %s", error)

    def _file_version(self) -> tuple[int, int] | None:
        try:
            stat = self._file.stat() if self._file else None
        except OSError:
            return None
        return (stat.st_mtime_ns, stat.st_size) if stat else None

    def _read(self) -> dict[str, bytes]:
        if self._file is None:
            return {}
        try:
            return _parse(self._file.read_text().splitlines(), self._file.name)
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"The API keys in {self._file.name} cannot be read ({type(error).__name__})"
            ) from error


def _parse(entries: list[str], source: str) -> dict[str, bytes]:
    """Digests by name. An entry is never shown: it may hold a key."""
    keys: dict[str, bytes] = {}
    for number, entry in enumerate(entries, 1):
        if not (text := entry.strip()) or text.startswith("#"):
            continue
        if (match := _ENTRY.fullmatch(text)) is None:
            raise ConfigError(
                f"Entry {number} of {source} is not `name:key` with a key of 16 to 256 characters"
            )
        if match[1] in keys:
            raise ConfigError(f"Entry {number} of {source} has a name that stands twice")
        keys[match[1]] = _digest(match[2])
    return keys


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "replace")).digest()
