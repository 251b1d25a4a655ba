"""Decoding of uploads in other processes: audio prompts, and conversions that yield to all else."""

import base64
import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from serve_app.audio.file_format import Encoding
from serve_app.audio.inspector import Inspection, inspection_of
from serve_app.audio.mastering import Mastering
from serve_app.audio.worker_pool import WorkerPool
from serve_app.cpus import usable_cpus
from serve_app.provenance.manifest import Unkept
from serve_app.types import Audio

_MOST_PROCESSES = 4  # of each pool
_YIELDING = 19  # niceness: the CPU goes to everyone else first
_READ_CPU_S = 5.0
_READ_CPU_PER_S = 0.02  # of audio: ten times what decoding takes
_CONVERT_CPU_S = 30.0
_CONVERT_CPU_PER_S = 0.2  # of audio: four times what the slowest options take


@dataclass(frozen=True, slots=True)
class Conversion:
    """A converted file. duration_s: in seconds; by_tags, by_manifest: whether the old file's tags,
    and its valid manifest, say that it was generated; tagged: whether the new file's tags do; parent:
    archive of the old file's manifests; unkept: why it is empty, where somebody asked for it."""

    duration_s: float
    by_tags: bool = False
    by_manifest: bool = False
    tagged: bool = False
    parent: bytes = b""
    unkept: Unkept = Unkept.NONE

    @property
    def marked(self) -> bool:
        """Whether the old file says that it was generated."""
        return self.by_tags or self.by_manifest


class AudioWorkers:
    """Two pools of processes, each of half as many as this process has cores: for prompts, for conversions."""

    def __init__(self) -> None:
        size = max(1, min(_MOST_PROCESSES, usable_cpus() // 2))
        self._readers = WorkerPool(size)
        self._converters = WorkerPool(size, _YIELDING)

    async def read(
        self,
        content: bytes,
        max_duration_s: float,
        sample_rate: int | None = None,
        *,
        cut: bool = False,
    ) -> Audio:
        """Decode a file of the UPLOAD_FORMATS, of one channel or mixed to two.

        sample_rate: to resample to; None: the file's own, at most 48 kHz; cut: take the beginning of
        a file that is longer than `max_duration_s`, which else is refused. Raises InvalidAudio.
        """
        job = {
            "task": "read",
            "max_duration_s": max_duration_s,
            "sample_rate": sample_rate,
            "cut": cut,
            "max_cpu_s": _READ_CPU_S + _READ_CPU_PER_S * max_duration_s,
        }
        answer, samples = await self._readers.run(job, content)
        shape = (answer["channels"], -1)
        return Audio(np.frombuffer(samples, "<f4").reshape(shape), answer["sample_rate"])

    async def inspect(
        self,
        content: bytes,
        max_duration_s: float,
        pcm: Path | None = None,
        detached: bytes | None = None,
        trust_anchors: str | None = None,
    ) -> Inspection:
        """Decode a file of the UPLOAD_FORMATS, and read its tags and its manifest.

        pcm: file to write its samples to, for a detector; detached: manifest outside the file;
        trust_anchors: certificates in PEM of trusted signers. Raises InvalidAudio.
        """
        job = {
            "task": "inspect",
            "path": "" if pcm is None else str(pcm),
            "manifest": None if detached is None else base64.b64encode(detached).decode("ascii"),
            "trust_anchors": trust_anchors,
            "max_duration_s": max_duration_s,
            "max_cpu_s": _CONVERT_CPU_S + _CONVERT_CPU_PER_S * max_duration_s,
        }
        answer, _ = await self._converters.run(job, content)
        return inspection_of(answer)

    async def convert(
        self,
        content: bytes,
        path: Path,
        encoding: Encoding,
        mastering: Mastering,
        max_duration_s: float,
        *,
        with_prompt: bool = True,
        with_tags: bool = True,
        with_manifest: bool = False,
    ) -> Conversion:
        """Write the converted file to `path`.

        with_prompt: keep the prompt among the marks of generated audio; with_tags: write tags for a
        file whose manifest alone says generated; with_manifest: archive the manifests of the old file.
        Raises InvalidAudio, and InvalidRequest for a bit rate that the channels exclude.
        """
        job = {
            "task": "convert",
            "path": str(path),
            "encoding": dataclasses.asdict(encoding) | {"file_format": encoding.file_format.name},
            "mastering": dataclasses.asdict(mastering),
            "max_duration_s": max_duration_s,
            "with_prompt": with_prompt,
            "with_tags": with_tags,
            "with_manifest": with_manifest,
            "max_cpu_s": _CONVERT_CPU_S + _CONVERT_CPU_PER_S * max_duration_s,
        }
        answer, parent = await self._converters.run(job, content)
        return Conversion(
            duration_s=float(answer["decoded_s"]),
            by_tags=bool(answer["by_tags"]),
            by_manifest=bool(answer["by_manifest"]),
            tagged=bool(answer["tagged"]),
            parent=parent,
            unkept=Unkept(answer["unkept"]),
        )
