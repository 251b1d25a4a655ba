"""API keys: authentication of callers."""

import hashlib
import hmac
import logging
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from time import monotonic

from serve_app.config.api import AccessConfig
from serve_app.errors import ConfigError

logger = logging.getLogger(__name__)

_ENTRY = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]{0,63})\s*:\s*([\x21-\x7e]{16,256})")
_CHECK_EVERY_S = 1.0
_Version = tuple[int, int, int, int]  # changes whenever the file does


class KeyRing:
    """The API keys by their names, from the environment and from a file that may change.

    Access fails closed. Whether callers need a key is decided once, at the start: `is_open` is true
    only where neither source is configured to hold keys. A file that later becomes empty, missing,
    unreadable or malformed leaves the last keys in force; `on_file_error` is called and an error is
    logged, once for each such state of the file.

    Raises ConfigError at the start for keys that cannot be read, for a file without keys, and where
    there are no keys although they are required.
    """

    def __init__(
        self,
        config: AccessConfig,
        on_file_error: Callable[[], None],
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        self._file = Path(config.keys_file) if config.keys_file else None
        self._on_file_error = on_file_error
        self._fixed = _from_environment(environment.get(config.keys_env, ""), config.keys_env)
        self._version = self._file_version()
        self._checked_at = monotonic()
        self._keys = self._fixed | self._read()
        self._error = ""
        self.is_open = not self._keys
        if config.require_keys and self.is_open:
            raise ConfigError(
                "API keys are required, and there are none. Put `name:key` into the environment "
                f"variable {config.keys_env} of the ingress or into api.access.keys_file, or turn "
                "api.access.require_keys off."
            )

    @property
    def count(self) -> int:
        """Number of keys."""
        return len(self._keys)

    def name_of(self, key: str) -> str | None:
        """Return the name of a key, None for an unknown one.

        The time taken does not depend on the key.
        """
        self._refresh()
        digest = _digest(key)
        found = None
        for name, expected in self._keys.items():
            if hmac.compare_digest(digest, expected):
                found = name
        return found

    def _refresh(self) -> None:
        if self._file is None or monotonic() - self._checked_at < _CHECK_EVERY_S:
            return
        self._checked_at = monotonic()
        version = self._file_version()
        if version == self._version and not self._error:
            return
        try:
            self._keys = self._fixed | self._read()
        except ConfigError as error:
            self._reject(version, str(error))
        else:
            self._error = ""
            logger.info("API keys were read again: %d", len(self._keys))
        self._version = version

    def _reject(self, version: _Version | None, error: str) -> None:
        """Report a file without usable keys. It is tried again at each check, and reported once."""
        if (version, error) == (self._version, self._error):
            return
        self._error = error
        self._on_file_error()
        logger.error("The last API keys stay in force: %s", error)

    def _file_version(self) -> _Version | None:
        try:
            stat = self._file.stat() if self._file else None
        except OSError:
            return None
        return (stat.st_ino, stat.st_ctime_ns, stat.st_mtime_ns, stat.st_size) if stat else None

    def _read(self) -> dict[str, bytes]:
        """Map names to digests: at least one where there is a file. Raises ConfigError."""
        if self._file is None:
            return {}
        try:
            keys = _parse(self._file.read_text().splitlines(), self._file.name)
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"The API keys in {self._file.name} cannot be read ({type(error).__name__}). "
                "api.access.keys_file must name a text file with a `name:key` a line that the "
                "ingress may read."
            ) from error
        if not keys:
            raise ConfigError(
                f"There are no API keys in {self._file.name}. Put a `name:key` a line into it, "
                "or take api.access.keys_file out of the configuration."
            )
        return keys


def _from_environment(text: str, variable: str) -> dict[str, bytes]:
    """Parse a variable's keys. Raises ConfigError, also for a value that holds none."""
    keys = _parse(text.split(","), variable)
    if text.strip() and not keys:
        raise ConfigError(
            f"The environment variable {variable} is set, but holds no key. Put `name:key` into it, "
            "or unset it."
        )
    return keys


def _parse(entries: list[str], source: str) -> dict[str, bytes]:
    """Map names to digests. A malformed entry is never shown: it may hold a key."""
    keys: dict[str, bytes] = {}
    for number, entry in enumerate(entries, 1):
        if not (text := entry.strip()) or text.startswith("#"):
            continue
        if (match := _ENTRY.fullmatch(text)) is None:
            raise ConfigError(
                f"Entry {number} of {source} is not `name:key` with a key of 16 to 256 characters"
            )
        if match[1] in keys:
            raise ConfigError(
                f"Entry {number} of {source} repeats the name '{match[1]}': "
                "give each key its own name"
            )
        keys[match[1]] = _digest(match[2])
    return keys


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "replace")).digest()
