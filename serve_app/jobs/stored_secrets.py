"""Transactions of secrets: those that sign webhooks, by owner, and the key of download links."""

import base64
import secrets

from serve_app.jobs.database import Collision, Steps, statement

_SECRET_BYTES = 32  # Standard Webhooks: 24 to 64
_KEY_BYTES = 32
_MOST_SECRETS = 3  # of an owner in force; each is a signature in every message
_NEWEST_FIRST = "case when expires_at is null then 0 else 1 end, created_at desc, expires_at desc"


def webhook_secrets(owner: str) -> Steps[list[str]]:
    """Read the owner's secrets in force, the newest first; draw the first."""
    rows = yield statement(
        "select secret from {db}webhook_secrets"
        " where owner = :owner and (expires_at is null or expires_at > {now})"
        f" order by {_NEWEST_FIRST} limit {_MOST_SECRETS}",
        owner=owner,
    )
    if rows:
        return [row["secret"] for row in rows]
    return [(yield from _draw(owner))]


def rotate_webhook_secret(owner: str, overlap_s: float) -> Steps[str]:
    """Draw a new secret and end the earlier ones after the overlap at the latest.

    At most _MOST_SECRETS stay in force: the oldest ones end at once.
    """
    yield statement(
        "update {db}webhook_secrets set expires_at = {now} + :overlap_s"
        " where owner = :owner and (expires_at is null or expires_at > {now} + :overlap_s) returning owner",
        owner=owner,
        overlap_s=float(overlap_s),
    )
    secret = yield from _draw(owner)
    yield statement(
        "delete from {db}webhook_secrets where owner = :owner and secret not in ("
        "select secret from {db}webhook_secrets where owner = :owner"
        " and (expires_at is null or expires_at > {now})"
        f" order by {_NEWEST_FIRST} limit {_MOST_SECRETS}) returning owner",
        owner=owner,
    )
    return secret


def _draw(owner: str) -> Steps[str]:
    """Store a new secret. Raises Collision if another transaction has just done so."""
    secret = "whsec_" + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()
    rows = yield statement(
        "insert into {db}webhook_secrets (owner, secret, created_at)"
        " values (:owner, :secret, {now})"
        " on conflict (owner) where expires_at is null do nothing returning owner",
        owner=owner,
        secret=secret,
    )
    if not rows:
        raise Collision
    return secret


def signing_key() -> Steps[bytes]:
    """Read the key of download links, or draw it."""
    yield statement(
        "insert into {db}store_secrets (name, value) values ('signing_key', :value)"
        " on conflict (name) do nothing returning name",
        value=secrets.token_hex(_KEY_BYTES),
    )
    [row] = yield statement("select value from {db}store_secrets where name = 'signing_key'")
    return bytes.fromhex(row["value"])
