"""The blocking client. Written by `make client` from async_client.py: edit that."""

import time
from collections.abc import Iterator
from typing import Self, Unpack

import httpx
from httpx_sse import EventSource

from serve_app.client.answers import (
    AudioFile,
    Track,
    check_media_type,
    file_of,
    models_of,
    report_of,
    track_of,
    variations_of,
)
from serve_app.client.audio_input import AudioInput, Uploads
from serve_app.client.calls import (
    Call,
    check_call,
    conversion_call,
    generation_call,
    http_settings,
    models_call,
    stream_call,
    variations_call,
)
from serve_app.client.events import Event, EventReader
from serve_app.client.fields import FileFields, GenerationFields, ServedModel
from serve_app.client.problems import ApiError, broken_answers, refusal
from serve_app.client.redirects import MAX_REDIRECTS, is_redirect, redirected, too_many_redirects
from serve_app.client.retries import Retries
from serve_app.client.sync_jobs import Jobs
from serve_app.provenance_report import ProvenanceReport


class MusicGenClient:
    """Client with blocking calls; a context manager.

    url: URL of the service; key: API key, by default the environment variable MUSICGEN_API_KEY;
    retries: repetition of requests that failed for a passing reason;
    transport: replacement of the HTTP transport, for tests.

    Every method raises ApiError for a refusal of the service and for a broken answer, and
    httpx.HTTPError where the service cannot be reached or does not answer in time. `fields` are
    those of the API (docs/api.md); None counts as absent. An `audio_prompt` (the track's beginning)
    and a `melody` (that it follows, for models that take one) are a path, bytes, or an open
    file. A URL, key or field that cannot be sent is a ValueError before any request.

    jobs: durable jobs of the API key.
    """

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        retries: Retries = Retries(),  # noqa: B008 - immutable
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._http = httpx.Client(**http_settings(url, key), transport=transport)
        self._retries = retries
        self.jobs = Jobs(self._send)

    def generate(
        self,
        prompt: str = "",
        *,
        audio_prompt: AudioInput | None = None,
        melody: AudioInput | None = None,
        **fields: Unpack[GenerationFields],
    ) -> Track:
        """Make a track."""
        uploads = Uploads(audio_prompt, melody)
        return track_of(self._send(generation_call(prompt, uploads, fields)))

    def variations(
        self,
        prompt: str = "",
        *,
        n: int,
        audio_prompt: AudioInput | None = None,
        melody: AudioInput | None = None,
        **fields: Unpack[GenerationFields],
    ) -> list[Track]:
        """Make `n` tracks, with the seed and the following ones."""
        call = variations_call(prompt, n, Uploads(audio_prompt, melody), fields)
        return variations_of(self._send(call), n)

    def stream(
        self,
        prompt: str = "",
        *,
        audio_prompt: AudioInput | None = None,
        melody: AudioInput | None = None,
        **fields: Unpack[GenerationFields],
    ) -> Iterator[Event]:
        """Yield Progress and Audio while the track is made, then the whole Track.

        Closing the iterator early cancels the request. A stream that ends before the Track raises
        ApiError with the code `cut_off`.
        """
        uploads = Uploads(audio_prompt, melody)
        response = self._send(stream_call(prompt, uploads, fields))
        try:
            with broken_answers():
                check_media_type(response, "text/event-stream")
                reader = EventReader()
                for part in EventSource(response).iter_sse():
                    if (event := reader.read(part)) is not None:
                        yield event
                    if reader.is_complete:
                        return
            reader.check_complete()
        finally:
            response.close()

    def convert(self, audio: AudioInput, **fields: Unpack[FileFields]) -> AudioFile:
        """Convert an audio file to another format. audio: a path, bytes, or an open file."""
        return file_of(self._send(conversion_call(audio, fields)))

    def check_provenance(
        self, audio: AudioInput, manifest: AudioInput | None = None
    ) -> ProvenanceReport:
        """Read what the marks of an audio file say.

        audio: a path, bytes, or an open file; manifest: likewise, a detached one of this file.
        """
        return report_of(self._send(check_call(audio, manifest)))

    def models(self) -> list[ServedModel]:
        """List the served models, the default first."""
        return models_of(self._send(models_call()))

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _send(self, call: Call) -> httpx.Response:
        """Send a request, again where that may help. The body of a streamed answer is unread."""
        failures = 0
        while True:
            try:
                return self._attempt(call)
            except (ApiError, httpx.TransportError) as error:
                failures += 1
                delay_s = self._retries.delay_s(failures, error, call.is_repeatable)
                if delay_s is None:
                    raise
            time.sleep(delay_s)

    def _attempt(self, call: Call) -> httpx.Response:
        """Send a request once, through redirects."""
        request = self._http.build_request(call.method, call.path, **call.content)
        for _ in range(MAX_REDIRECTS + 1):
            with broken_answers():
                response = self._http.send(request, stream=True)
                if response.is_success and call.is_streamed:
                    return response
                response.read()
            if response.is_success:
                return response
            if not is_redirect(response):
                raise refusal(response)
            request = redirected(request, response)
        raise too_many_redirects()
