"""Watch over the signing certificate: its expiry in metrics and in the log, and its renewal."""

import asyncio
import logging
from time import monotonic

from serve_app.errors import ConfigError
from serve_app.gateway.marking import Marking
from serve_app.gateway.observer import RequestObserver

logger = logging.getLogger(__name__)

WARNING_DAYS = 30.0
_PERIOD_S = 60.0
_DAY_S = 86_400.0


class CertificateWatch:
    """Looks at the certificate of `marking` every minute, and takes over renewed files.

    From 30 days before the end on, a warning is logged once a day. Files that cannot sign are
    logged, and the last pair stays in force.
    """

    def __init__(self, marking: Marking, observer: RequestObserver) -> None:
        self._marking = marking
        self._observer = observer
        self._warned_at: float | None = None

    async def run(self) -> None:
        """Look until cancelled; return at once where nothing is signed."""
        if self._marking.signer is None:
            return
        while True:
            await asyncio.to_thread(self.renew)
            self.look()
            await asyncio.sleep(_PERIOD_S)

    def look(self) -> None:
        """Tell the days that are left."""
        if self._marking.signer is None:
            return
        days_left = self._marking.signer.credentials.days_left()
        self._observer.certificate_checked(days_left)
        if days_left >= WARNING_DAYS or not self._is_due():
            return
        self._warned_at = monotonic()
        logger.warning(
            "The signing certificate, or one of its chain, expires in %.1f days. Without a valid one "
            "the service sends no generated files.",
            days_left,
        )

    def _is_due(self) -> bool:
        return self._warned_at is None or monotonic() - self._warned_at >= _DAY_S

    def renew(self) -> None:
        """Take over renewed files."""
        try:
            if self._marking.renew():
                logger.info("The signing certificate and its key were read again")
        except ConfigError as error:
            logger.error("The last signing certificate stays in force: %s", error.message)
