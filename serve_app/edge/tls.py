"""Certificate and private key of the edge."""

import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from serve_app.edge.process import EdgeError


class Tls(NamedTuple):
    """PEM files: certificate with its chain, and private key without a pass phrase."""

    certificate: Path
    key: Path

    @contextmanager
    def bundle(self) -> Iterator[int]:
        """Hold both in memory, in a file without a name; yield its descriptor. Raises EdgeError.

        No copy of the key stays on the disk, even if this process is killed.
        """
        self._check()
        content = self.certificate.read_bytes() + b"\n" + self.key.read_bytes()
        descriptor = os.memfd_create("musicgen-edge-tls")
        try:
            with os.fdopen(os.dup(descriptor), "wb") as file:
                file.write(content)
            yield descriptor
        finally:
            os.close(descriptor)

    def _check(self) -> None:
        """Raise EdgeError unless the key is readable, open, and the certificate's."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(self.certificate, self.key, password=self._refuse_pass_phrase)
        except OSError as error:  # ssl.SSLError is one
            raise EdgeError(
                f"The certificate {self.certificate} and the key {self.key} cannot be used: "
                f"{error.strerror or error}. Give PEM files that belong together."
            ) from error

    def _refuse_pass_phrase(self) -> str:
        raise EdgeError(
            f"The key {self.key} has a pass phrase. Write it without one: "
            f"openssl pkey -in {self.key} -out FILE"
        )
