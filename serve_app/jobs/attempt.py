"""One attempt at a job: its tracks are made, encoded and stored."""

import asyncio
import hashlib
from dataclasses import dataclass
from time import time

from serve_app.errors import QueueFull, RateLimited
from serve_app.gateway.service import GenerationService, variation
from serve_app.gateway.track import Track
from serve_app.jobs.addresses import Addresses
from serve_app.jobs.job import Job, ResultFile
from serve_app.jobs.parts import cut, read_melody
from serve_app.jobs.results import ResultStore, result_key
from serve_app.jobs.room import Room
from serve_app.jobs.store import Progressed
from serve_app.jobs.upload import send_file
from serve_app.model_status import ModelCard
from serve_app.types import Audio, GenerationRequest, SamplingParams

_PAUSE_S = 1.0  # before a variation that the key's limits refused is tried again


@dataclass(frozen=True, slots=True)
class Means:
    """The parts of the service that attempts use. uploads: for the callers' signed addresses."""

    service: GenerationService
    results: ResultStore
    uploads: Addresses


class Attempt:
    """Makes the variations of a job, each as soon as `room` has a place for it."""

    def __init__(self, job: Job, means: Means, room: Room) -> None:
        self._job = job
        self._means = means
        self._room = room
        self._made_s: dict[int, float] = {}
        self._sending = 0
        self.begun = asyncio.Event()  # set with the first audio

    @property
    def progress(self) -> Progressed:
        """Seconds of all variations made so far, and their part of the whole."""
        made_s = sum(self._made_s.values())
        return Progressed(min(1.0, made_s / self._job.request.audio_s), made_s)

    async def make(self) -> tuple[ResultFile, ...]:
        """Make and store all variations; if one fails, all do. Raises ServeAppError."""
        wanted = self._job.request
        service = self._means.service
        card = service.router.resolve(wanted.model)
        await service.check_file(card, wanted.encoding())
        request = await self._request(card)
        tasks = [
            asyncio.create_task(self._variation(variation(request, index), card, index))
            for index in range(wanted.n)
        ]
        try:
            return tuple(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _request(self, card: ModelCard) -> GenerationRequest:
        job = self._job
        wanted = job.request
        return GenerationRequest(
            request_id=job.id,
            model=card.model_id,
            prompt=wanted.prompt,
            duration_s=wanted.duration_s,
            sampling=SamplingParams.model_validate(
                wanted.model_dump(include=set(SamplingParams.model_fields))
            ),
            audio_prompt=await self._audio_prompt(card),
            melody=await self._melody(card),
            extend_stride_s=wanted.extend_stride_s,
            decoder=wanted.decoder,
            caller=job.owner,
            deadline=_deadline(job),
            sample_bits=wanted.sample_bits,
        )

    async def _audio_prompt(self, card: ModelCard) -> Audio | None:
        """Read the stored upload, and cut it to its part. Raises InvalidAudio."""
        wanted = self._job.request
        if wanted.audio_prompt is None:
            return None
        content = await self._upload(wanted.audio_prompt)
        audio = await self._means.service.audio_prompts.read(content, card)
        return cut(audio, wanted.audio_prompt_start_s, wanted.audio_prompt_end_s)

    async def _melody(self, card: ModelCard) -> Audio | None:
        """Read the stored melody, and cut it likewise. Raises InvalidAudio."""
        wanted = self._job.request
        if wanted.melody is None:
            return None
        content = await self._upload(wanted.melody)
        return await read_melody(self._means.service, content, wanted, card)

    async def _upload(self, key: str) -> bytes:
        return b"".join([block async for block in self._means.results.read(key)])

    async def _variation(
        self, request: GenerationRequest, card: ModelCard, index: int
    ) -> ResultFile:
        wanted = self._job.request
        track = await self._track(request, card, index)
        content = await track.encode(wanted.encoding(), wanted.mastering())
        return await self._keep(track, content, index)

    async def _track(self, request: GenerationRequest, card: ModelCard, index: int) -> Track:
        """Make a track within the limits of the job's key, for which a later variation waits."""

        def made(audio_s: float) -> None:
            self._made_s[index] = audio_s
            self.begun.set()

        while True:
            self._room.arrived(self._job.id)
            try:
                async with self._room.place() as patience_s:
                    patient = request.model_copy(update={"patience_s": patience_s})
                    self._sending += 1
                    try:
                        return await self._means.service.make_background_track(patient, card, made)
                    finally:
                        self._sending -= 1
            except (RateLimited, QueueFull) as error:
                if not self._sending and not self._made_s:
                    raise  # the whole job waits in the queue instead
                await asyncio.sleep(error.retry_after_s or _PAUSE_S)

    async def _keep(self, track: Track, content: bytes, index: int) -> ResultFile:
        """Store a file, or send it to the job's own address."""
        job = self._job
        media_type = job.request.file_format.media_type
        key = None
        if job.upload is not None:
            await send_file(self._means.uploads, job.upload, content, media_type)
        else:
            key = result_key(job.id, job.attempt, index, job.request.response_format)
            await self._means.results.put(key, content, media_type)
        return ResultFile(
            key=key,
            media_type=media_type,
            size_bytes=len(content),
            sha256=(await asyncio.to_thread(hashlib.sha256, content)).hexdigest(),
            duration_s=track.duration_s,
            report=track.report().model_dump(mode="json"),
        )


def cost_of(results: tuple[ResultFile, ...]) -> float | None:
    """Add up the cost of the tracks; None where it is unknown."""
    costs = [result.report.get("cost_usd") for result in results]
    known = [float(cost) for cost in costs if cost is not None]
    return round(sum(known), 8) if known and len(known) == len(costs) else None


def _deadline(job: Job) -> float | None:
    """Unix time of this machine at which the job's deadline passes.

    Both times of the difference are the database's, whose clock may differ.
    """
    if job.deadline_at is None or job.started_at is None:
        return None
    return time() + job.deadline_at - job.started_at
