"""API keys, signing credentials, and Ray's own token."""

import os

from serve_app.config.api import AccessConfig
from serve_app.config.provenance import ProvenanceConfig
from serve_app.doctor.finding import Finding, note, ok, problem
from serve_app.errors import ConfigError
from serve_app.gateway.certificate_watch import WARNING_DAYS
from serve_app.gateway.keys import KeyRing
from serve_app.gateway.marking import Marking
from serve_app.gateway.observer import LogObserver
from serve_app.ray_token import MODE_VARIABLE, TokenError, find_or_create_token, token_exists

_KEYS = "keys"
_SIGNING = "signing"
_TOKEN = "Ray's token"


def check_keys(access: AccessConfig) -> Finding:
    """Read the API keys as the service does."""
    try:
        ring = KeyRing(access, on_file_error=lambda: None)
    except ConfigError as error:
        advice = f'For example: export {access.keys_env}="me:$(openssl rand -hex 24)"'
        return problem(_KEYS, error.message, advice)
    if ring.is_open:
        advice = f"Put `name:key` into {access.keys_env} before others may reach the service."
        return note(_KEYS, "none: anyone who reaches the service may use it", advice)
    sources = [access.keys_env] if os.environ.get(access.keys_env) else []
    sources += [access.keys_file] if access.keys_file else []
    return ok(_KEYS, f"{ring.count} in {' and '.join(sources)}")


def check_signing(provenance: ProvenanceConfig) -> Finding:
    """Read the signing credentials and sign a probe, as the service does."""
    try:
        signer = Marking.of(provenance, LogObserver()).signer
    except ConfigError as error:
        return problem(
            _SIGNING, error.message, "`musicgen provenance init` makes a pair for trying."
        )
    if signer is None:
        return ok(_SIGNING, "off: files say by tags alone that they were generated")
    days_left = signer.credentials.days_left()
    state = f"{provenance.algorithm}, valid for {days_left:.0f} days"
    if days_left < WARNING_DAYS:
        return note(_SIGNING, state, "Renew the certificate: after its end no file is sent.")
    return ok(_SIGNING, state)


def check_token() -> Finding:
    """Look for the token of Ray's own ports, without creating it."""
    if os.environ.get(MODE_VARIABLE, "token") != "token":
        mode = os.environ[MODE_VARIABLE]
        state = f"{MODE_VARIABLE} is '{mode}': with `serve run`, anyone who reaches this machine runs commands"
        return problem(_TOKEN, state, f"export {MODE_VARIABLE}=token")
    if not token_exists():
        return ok(_TOKEN, "none yet; `musicgen serve` makes one in ~/.ray/auth_token")
    try:
        find_or_create_token()
    except TokenError as error:
        return problem(_TOKEN, "cannot be read", str(error))
    return ok(_TOKEN, "found")
