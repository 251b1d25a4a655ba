"""Bodies of webhooks, in the form of each dialect."""

import json
from datetime import UTC, datetime
from typing import Any

from serve_app.jobs.description import JobDescription
from serve_app.jobs.job import EventName, Job
from serve_app.jobs.links import Links
from serve_app.jobs.prediction import prediction_of
from serve_app.jobs.store import NewDelivery
from serve_app.jobs.webhooks import MOST_BODY_BYTES

_Fields = tuple[tuple[str, Any], ...]
# Fields and what stands for them in a message that is too long, in this order, until it fits.
_OF_JOB: _Fields = (("request", None), ("metadata", {}), ("error", None))
_OF_PREDICTION: _Fields = (("input", {}), ("error", "The error's text is too long to be sent"))


class Announcer:
    """Writes the messages that tell webhooks of jobs.

    A body never holds audio, but links to it, which are valid through a day of attempts to deliver.
    """

    def __init__(self, links: Links) -> None:
        self._links = links

    def deliveries(self, job: Job, event: EventName) -> tuple[NewDelivery, ...]:
        """Write the messages of an event; none if the job's webhook does not ask for it."""
        webhook = job.webhook
        if webhook is None or event not in webhook.events:
            return ()
        is_native = webhook.dialect == "native"
        body = self._event(job, event) if is_native else self._prediction(job)
        return (NewDelivery(webhook.url, event, body),)

    def _event(self, job: Job, event: EventName) -> str:
        """Write `type`, `timestamp` and `data`, as Standard Webhooks recommends."""
        data = JobDescription.of(job, self._links.lasting()).model_dump(mode="json")
        envelope = {
            "type": f"job.{event}",
            "timestamp": datetime.fromtimestamp(self._links.clock(), UTC).isoformat(
                timespec="milliseconds"
            ),
            "data": data,
        }
        return _within_limit(envelope, data, _OF_JOB)

    def _prediction(self, job: Job) -> str:
        data = prediction_of(job, self._links.lasting()).model_dump(mode="json")
        return _within_limit(data, data, _OF_PREDICTION)


def _within_limit(message: dict[str, Any], data: dict[str, Any], shortened: _Fields) -> str:
    """Serialize a message; one beyond MOST_BODY_BYTES loses the fields of `data` in `shortened`."""
    text = _json(message)
    for name, value in shortened:
        if len(text) <= MOST_BODY_BYTES:
            break
        data[name] = value
        text = _json(message)
    return text


def _json(message: dict[str, Any]) -> str:
    """Serialize in ASCII: its length is that of its bytes."""
    return json.dumps(message, separators=(",", ":"))
