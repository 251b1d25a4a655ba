"""A self-signed certificate chain for trying: validators do not trust it.

Profiles of the certificates: C2PA Technical Specification 2.4, section 14.5, X.509 Certificates.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from serve_app.config.provenance import Algorithm

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes

_CLAIM_SIGNING = "1.3.6.1.4.1.62558.2.1"  # c2pa-kp-claimSigning
_RSA_BITS = 3072
_CLOCK_SKEW = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Pair:
    """chain: PEM of the signer's certificate and of its root; private_key: PEM, PKCS #8;
    root: PEM of the root alone, for validators that should trust it."""

    chain: bytes
    private_key: bytes = field(repr=False)
    root: bytes


def make_pair(
    algorithm: Algorithm, organization: str, days: int, start: datetime | None = None
) -> Pair:
    """Make a root, and a certificate for signing under it, with new keys.

    days: of validity, from `start`; None: from now on.
    """
    from cryptography.hazmat.primitives import serialization

    begin = start or datetime.now(UTC) - _CLOCK_SKEW
    times = (begin, begin + timedelta(days=days))
    root_key = _new_key(algorithm)
    key = _new_key(algorithm)
    root_name = _name(organization, "C2PA test root")
    signing = serialization.Encoding.PEM
    root = _root(root_name, root_key, times).sign(root_key, _digest(algorithm))
    leaf = _leaf(_name(organization, "C2PA test signer"), key, root_name, root_key, times)
    certificate = leaf.sign(root_key, _digest(algorithm))
    return Pair(
        chain=certificate.public_bytes(signing) + root.public_bytes(signing),
        private_key=key.private_bytes(
            signing, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
        root=root.public_bytes(signing),
    )


def _new_key(algorithm: Algorithm) -> CertificateIssuerPrivateKeyTypes:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    curves = {"es256": ec.SECP256R1(), "es384": ec.SECP384R1(), "es512": ec.SECP521R1()}
    if algorithm in curves:
        return ec.generate_private_key(curves[algorithm])
    if algorithm == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    return rsa.generate_private_key(public_exponent=65537, key_size=_RSA_BITS)


def _digest(algorithm: Algorithm) -> Any:
    """Hash of the certificates' own signatures; None: Ed25519 has its own."""
    from cryptography.hazmat.primitives import hashes

    by_bits = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
    return None if algorithm == "ed25519" else by_bits[algorithm[-3:]]


def _name(organization: str, common_name: str) -> x509.Name:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _root(
    name: x509.Name, key: CertificateIssuerPrivateKeyTypes, times: tuple[datetime, datetime]
) -> x509.CertificateBuilder:
    from cryptography import x509

    return (
        _builder(name, name, key, times)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(is_root=True), critical=True)
    )


def _leaf(
    name: x509.Name,
    key: CertificateIssuerPrivateKeyTypes,
    issuer: x509.Name,
    issuer_key: CertificateIssuerPrivateKeyTypes,
    times: tuple[datetime, datetime],
) -> x509.CertificateBuilder:
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID

    purposes = [x509.ObjectIdentifier(_CLAIM_SIGNING), ExtendedKeyUsageOID.EMAIL_PROTECTION]
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
    return (
        _builder(name, issuer, key, times)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(is_root=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        .add_extension(authority, critical=False)
    )


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: CertificateIssuerPrivateKeyTypes,
    times: tuple[datetime, datetime],
) -> x509.CertificateBuilder:
    from cryptography import x509

    begin, end = times
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(identifier, critical=False)
    )


def _usage(*, is_root: bool) -> x509.KeyUsage:
    """A root signs certificates, the other certificate signs claims."""
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=not is_root,
        key_cert_sign=is_root,
        crl_sign=is_root,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
