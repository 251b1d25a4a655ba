"""A time-stamp server (RFC 3161) over OpenSSL, with a certificate of its own."""

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

PEM = serialization.Encoding.PEM
SETTINGS = """
[server]
serial = {folder}/serial
signer_cert = {folder}/signer.pem
signer_key = {folder}/key.pem
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256, sha384, sha512
ess_cert_id_alg = sha256
"""


@contextmanager
def timestamp_server(folder: Path) -> Iterator[str]:
    """Yield the server's URL."""
    _write_credentials(folder)
    (folder / "serial").write_text("01\n")
    (folder / "settings").write_text(SETTINGS.format(folder=folder))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            answer = _stamp(folder, self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.send_header("content-type", "application/timestamp-reply")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: Any) -> None:
            """Log nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def _stamp(folder: Path, query: bytes) -> bytes:
    (folder / "query").write_bytes(query)
    command = ["openssl", "ts", "-reply", "-config", "settings", "-section", "server"]
    files = ["-queryfile", "query", "-out", "answer"]
    subprocess.run([*command, *files], cwd=folder, check=True, capture_output=True)
    return (folder / "answer").read_bytes()


def _write_credentials(folder: Path) -> None:
    """Write a certificate for time-stamps alone, which C2PA asks to have an issuer of its own."""
    issuer_key = rsa.generate_private_key(65537, 2048)
    key = rsa.generate_private_key(65537, 2048)
    start = datetime.now(UTC) - timedelta(minutes=5)
    usage = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
         "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"), False
    )  # fmt: skip
    certificate = (
        x509.CertificateBuilder(
            _name("time-stamp issuer"), _name("time-stamp server"), key.public_key(),
            x509.random_serial_number(), start, start + timedelta(days=1),
        )
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(digital_signature=True, **usage), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING]), critical=True)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), False
        )
        .sign(issuer_key, hashes.SHA256())
    )  # fmt: skip
    (folder / "signer.pem").write_bytes(certificate.public_bytes(PEM))
    form = serialization.PrivateFormat.PKCS8
    plain = serialization.NoEncryption()
    (folder / "key.pem").write_bytes(key.private_bytes(PEM, form, plain))


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
