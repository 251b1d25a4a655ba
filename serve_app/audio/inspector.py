"""Inspection of an audio file: its tags, its manifest, and its samples for a detector."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from serve_app.audio.decoder import MAX_RATE, Decoder, Samples
from serve_app.errors import InvalidAudio
from serve_app.marks import carried
from serve_app.provenance.reading import read_manifest
from serve_app.provenance_report import (
    ManifestReport,
    ProvenanceReport,
    WatermarkReport,
    says_generated,
)


@dataclass(frozen=True)
class Inspection:
    """Facts of a file. tags: the marks of generated audio, empty for a file without; channels: 0 for
    audio that cannot be decoded."""

    duration_s: float
    sample_rate: int
    channels: int
    tags: dict[str, str]
    manifest: ManifestReport

    def report(self, watermark: WatermarkReport | None) -> ProvenanceReport:
        """Build the report. watermark: None: nobody looked for it."""
        return ProvenanceReport(
            generated=says_generated(self.tags, self.manifest, watermark),
            duration_s=round(self.duration_s, 3),
            sample_rate=self.sample_rate,
            channels=self.channels,
            tags=self.tags,
            manifest=self.manifest,
            watermark=watermark,
        )


def inspection_of(fields: Mapping[str, Any]) -> Inspection:
    """Build an inspection from plain values."""
    return Inspection(
        duration_s=float(fields["duration_s"]),
        sample_rate=int(fields["sample_rate"]),
        channels=int(fields["channels"]),
        tags=dict(fields["tags"]),
        manifest=ManifestReport.model_validate(fields["manifest"]),
    )


class Inspector:
    """Decodes one file of the UPLOAD_FORMATS, and reads its marks.

    decoded_s: seconds of the file decoded so far.
    """

    def __init__(self, content: bytes, max_duration_s: float) -> None:
        self._content = content
        self._max_duration_s = max_duration_s
        self._rate = 0
        self._wanted_rate: int | None = None
        self.decoded_s = 0.0

    def inspect(
        self,
        trust_anchors: str | None = None,
        pcm: Path | None = None,
        pcm_rate: int = 16_000,
        detached: bytes | None = None,
    ) -> Inspection:
        """Read the file. Raises InvalidAudio.

        trust_anchors: certificates in PEM of trusted signers; pcm: file to write the samples to, as
        interleaved float32 at `pcm_rate`; detached: manifest outside the file. With one, audio that
        cannot be decoded is no fault: a manifest fits bare samples, too.
        """
        self._wanted_rate = None if pcm is None else pcm_rate
        decoder = Decoder(self._content, self._max_duration_s, self._rate_from)
        try:
            channels = self._decode(decoder, pcm)
        except InvalidAudio:
            if detached is None or decoder.decoded_s > self._max_duration_s:
                raise
            channels = 0
        return Inspection(
            duration_s=decoder.decoded_s,
            sample_rate=self._rate,
            channels=channels,
            tags=carried(decoder.metadata, with_prompt=True),
            manifest=read_manifest(self._content, trust_anchors, detached),
        )

    def _decode(self, decoder: Decoder, pcm: Path | None) -> int:
        """Decode the file, and write its samples to `pcm`. Returns the number of channels."""
        channels = 0
        with contextlib.nullcontext() if pcm is None else pcm.open("wb") as file:
            for part in self._parts(decoder):
                channels = len(part)
                if file is not None:
                    file.write(np.ascontiguousarray(part.T, "<f4").data)
        return channels

    def _parts(self, decoder: Decoder) -> Iterator[Samples]:
        try:
            yield from decoder.parts()
        finally:
            self.decoded_s = decoder.decoded_s

    def _rate_from(self, rate: int) -> int:
        self._rate = rate
        return self._wanted_rate or min(rate, MAX_RATE)
