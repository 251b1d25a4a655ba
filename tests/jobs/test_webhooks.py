"""Signatures that the `standardwebhooks` package verifies."""

import base64
import json
from time import time

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from serve_app.jobs.webhooks import signed_headers

FIRST = "whsec_" + base64.b64encode(b"a" * 32).decode()
SECOND = "whsec_" + base64.b64encode(b"b" * 32).decode()
STRANGE = "whsec_" + base64.b64encode(b"c" * 32).decode()
BODY = json.dumps({"type": "job.completed", "data": {"prompt": "\u00e9t\u00e9 \U0001f3b5"}})


@pytest.mark.parametrize("secret", [FIRST, SECOND])
def test_each_secret_in_force_verifies(secret: str) -> None:
    headers = signed_headers("msg_1", int(time()), BODY, [SECOND, FIRST])
    assert Webhook(secret).verify(BODY, headers) == json.loads(BODY)


def test_another_secret_another_body_and_another_time_do_not() -> None:
    headers = signed_headers("msg_1", int(time()), BODY, [FIRST])
    for secret, body, sent in [
        (STRANGE, BODY, headers),
        (FIRST, BODY + " ", headers),
        (FIRST, BODY, headers | {"webhook-id": "msg_2"}),
        (FIRST, BODY, signed_headers("msg_1", int(time()) - 600, BODY, [FIRST])),
    ]:
        with pytest.raises(WebhookVerificationError):
            Webhook(secret).verify(body, sent)


def test_the_form_is_the_specifications() -> None:
    headers = signed_headers("msg_1", 1_700_000_000, BODY, [FIRST, SECOND])
    signatures = headers["webhook-signature"].split(" ")
    assert [one.partition(",")[0] for one in signatures] == ["v1", "v1"]
    assert headers["webhook-timestamp"] == "1700000000"
    assert headers["webhook-id"] == "msg_1"
