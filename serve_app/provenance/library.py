"""The C2PA library, an extra of this package, and its settings."""

import json
from importlib.util import find_spec
from typing import Any

from serve_app.errors import ConfigError

# Files name addresses of remote manifests and of certificate servers: nothing is fetched from them.
_OFFLINE: dict[str, dict[str, object]] = {
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False}
}


def check_installed() -> None:
    """Raise ConfigError without the extra."""
    if missing := [name for name in ("c2pa", "cryptography") if find_spec(name) is None]:
        raise ConfigError(
            f"Signing needs the extra `c2pa`, and these packages are missing: {', '.join(missing)}. "
            "Install them: `uv sync --extra c2pa`, or `pip install 'musicgen-serve[c2pa]'`."
        )


def offline_context(trust_anchors: str | None = None) -> Any:
    """Build the library's Context for files of any origin: it opens no connection.

    trust_anchors: certificates in PEM; a signature under one of them is trusted. Without them, the
    state of a valid manifest is `Valid`, with them `Trusted`.
    """
    import c2pa

    settings: dict[str, dict[str, object]] = dict(_OFFLINE)
    if trust_anchors is not None:
        settings |= {"trust": {"trust_anchors": trust_anchors}}
    return c2pa.Context(c2pa.Settings.from_json(json.dumps(settings)))
