"""Certificate and private key of the edge."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from serve_app.edge.edge_error import EdgeError
from serve_app.edge.memory_file import nameless_file


class Tls(NamedTuple):
    """PEM files: certificate with its chain, and private key without a pass phrase."""

    certificate: Path
    key: Path

    @contextmanager
    def bundle(self) -> Iterator[int]:
        """Hold both in a file without a name, in memory where that can be; yield its descriptor.

        No file with a copy of the key is left, even if this process is killed. Raises EdgeError.
        """
        self._check()
        content = self.certificate.read_bytes() + b"\n" + self.key.read_bytes()
        with nameless_file("musicgen-edge-tls", content) as descriptor:
            yield descriptor

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
