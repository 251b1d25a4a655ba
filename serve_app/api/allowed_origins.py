"""Origins of web pages that may call the API (RFC 6454)."""

import re
from collections.abc import Iterable

_ANY_PORT = ":*"


class AllowedOrigins:
    """The origins of `api.cors_origins`: exact ones, hosts with any port, or all.

    names: the exact ones and `*`; pattern: matches those with any port; None: there are none.
    """

    def __init__(self, origins: Iterable[str]) -> None:
        origins = tuple(origins)
        hosts = [
            re.escape(one.removesuffix(_ANY_PORT)) for one in origins if one.endswith(_ANY_PORT)
        ]
        self.names = [one for one in origins if not one.endswith(_ANY_PORT)]
        self.pattern = rf"(?:{'|'.join(hosts)})(?::\d+)?" if hosts else None

    def allows(self, origin: str) -> bool:
        if "*" in self.names or origin in self.names:
            return True
        return self.pattern is not None and re.fullmatch(self.pattern, origin) is not None
