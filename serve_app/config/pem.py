"""PEM text in the wrong place of a configuration: told from a name, and never quoted."""

_SIGNS = ("-----BEGIN", "PRIVATE KEY")


def holds_pem(value: object) -> bool:
    """Whether a value of the configuration is, or contains, PEM text."""
    return isinstance(value, str) and any(sign in value for sign in _SIGNS)
