"""Conversions of audio files, within the limits of their callers."""

import asyncio
import hashlib
import tempfile
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from time import time

from serve_app.audio.file_format import Encoding
from serve_app.audio.mastering import Mastering
from serve_app.audio.workers import AudioWorkers, Conversion
from serve_app.errors import DeadlineExceeded, InvalidAudio
from serve_app.gateway.limits import Limits
from serve_app.gateway.marking import Marking
from serve_app.gateway.places import Places
from serve_app.provenance.manifest import Converted

MOST_AT_ONCE = 16  # waiting, running and being sent, in one ingress replica
_RETRY_AFTER_S = 5.0
_BLOCK_BYTES = 2**18


@dataclass(frozen=True)
class ConversionRequest:
    """A file to convert. caller, deadline: as of a GenerationRequest."""

    content: bytes
    encoding: Encoding
    mastering: Mastering
    caller: str = ""
    deadline: float | None = None


@dataclass(frozen=True, slots=True)
class ConvertedFile:
    """The facts of a new file. marked: the old one's tags, or its manifest, say generated."""

    size: int
    marked: bool


class Conversions:
    """Converts files in `workers`; a conversion is a request of its caller until its file is sent.

    The seconds of the file count as seconds of music. They are known once it is decoded, so that the
    caller's allowance may fall below zero; then the next request waits. marking: of generated audio.
    """

    def __init__(
        self,
        workers: AudioWorkers,
        limits: Limits,
        max_duration_s: float,
        marking: Marking | None = None,
    ) -> None:
        self._workers = workers
        self._limits = limits
        self._max_duration_s = min(max_duration_s, limits.longest_s)
        self._marking = marking or Marking()
        self._places = Places(limits, MOST_AT_ONCE, "being converted", _RETRY_AFTER_S)

    async def convert(
        self, request: ConversionRequest
    ) -> AsyncGenerator[ConvertedFile | bytes, None]:
        """Convert a file; yield the facts of the new one, then its content in blocks.

        Closing the iterator ends the conversion. Raises RateLimited, QueueFull, DeadlineExceeded,
        InvalidAudio, InvalidRequest for a bit rate that the channels exclude, FormatNotSigned and
        SigningFailed.
        """
        async with self._places.taken(request.caller):
            with tempfile.TemporaryDirectory(prefix="musicgen-conversion-") as folder:
                unsigned = Path(folder) / "unsigned"
                conversion = await self._write(request, unsigned)
                written = await self._sign(request, conversion, unsigned)
                self._count(request, conversion, signed=written != unsigned)
                yield ConvertedFile(written.stat().st_size, conversion.marked)
                with written.open("rb") as file:
                    while block := await asyncio.to_thread(file.read, _BLOCK_BYTES):
                        yield block

    async def _sign(
        self, request: ConversionRequest, conversion: Conversion, unsigned: Path
    ) -> Path:
        """Sign the new file where the old one has marks; return the file to send."""
        if not (conversion.marked or conversion.parent):
            return unsigned
        spec = request.encoding.file_format
        facts = Converted(
            sha256=(await asyncio.to_thread(hashlib.sha256, request.content)).hexdigest(),
            title=f"Conversion to {spec}",
            has_manifest=bool(conversion.parent),
            edited=request.mastering != Mastering(),
            unkept=conversion.unkept,
            by_tags=conversion.by_tags,
            by_manifest=conversion.by_manifest,
        )
        signed = unsigned.with_name("signed")
        parent = conversion.parent
        is_signed = await self._marking.mark_conversion(
            unsigned, signed, spec, facts, parent, request.deadline
        )
        return signed if is_signed else unsigned

    def _count(self, request: ConversionRequest, conversion: Conversion, *, signed: bool) -> None:
        """Count the marks of a file with generated audio; it is about to be sent."""
        if conversion.marked:
            spec = request.encoding.file_format
            self._marking.count_converted(spec, tagged=conversion.tagged, signed=signed)

    async def _write(self, request: ConversionRequest, path: Path) -> Conversion:
        """Write the new file, and charge the decoded seconds to the caller."""
        left_s = None if request.deadline is None else request.deadline - time()
        decoded_s = 0.0
        try:
            async with asyncio.timeout(left_s):
                conversion = await self._workers.convert(
                    request.content,
                    path,
                    request.encoding,
                    request.mastering,
                    self._max_duration_s,
                    with_prompt=self._marking.with_prompt,
                    with_tags=self._marking.with_tags,
                    with_manifest=self._marking.signer is not None,
                )
                decoded_s = conversion.duration_s
                return conversion
        except InvalidAudio as error:
            decoded_s = error.decoded_s
            raise
        except TimeoutError as error:
            raise DeadlineExceeded(
                "The request deadline passed before the file was converted. "
                "Allow more time, or send a shorter file."
            ) from error
        finally:
            self._limits.charge(request.caller, decoded_s)
