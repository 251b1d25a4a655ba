"""The chain for trying has the profile that C2PA asks of certificates."""

from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from serve_app.provenance.self_signed import make_pair


def test_the_profile_of_the_certificates() -> None:
    made = make_pair("es256", "me", 10)
    leaf, root = x509.load_pem_x509_certificates(made.chain)
    assert x509.load_pem_x509_certificate(made.root) == root
    leaf.verify_directly_issued_by(root)
    usage = leaf.extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical
    assert usage.value.digital_signature
    assert not usage.value.key_cert_sign
    purposes = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert {purpose.dotted_string for purpose in purposes} == {
        "1.3.6.1.4.1.62558.2.1",
        ExtendedKeyUsageOID.EMAIL_PROTECTION.dotted_string,
    }
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert leaf.not_valid_after_utc - leaf.not_valid_before_utc == timedelta(days=10)
    assert "me" in leaf.subject.rfc4514_string()


@pytest.mark.parametrize("algorithm", ["es256", "ed25519"])
def test_two_pairs_differ(algorithm: str) -> None:
    first = make_pair(algorithm, "me", 1)  # type: ignore[arg-type]
    second = make_pair(algorithm, "me", 1)  # type: ignore[arg-type]
    assert first.private_key != second.private_key
