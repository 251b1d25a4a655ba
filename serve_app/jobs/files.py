"""Finished files of jobs, for downloads."""

from dataclasses import dataclass

from serve_app.audio.file_format import format_of_suffix
from serve_app.jobs.errors import JobHasNoResult, JobNotFinished, JobNotFound, ResultExpired
from serve_app.jobs.job import Job, JobStatus
from serve_app.jobs.links import Links, audio_purpose
from serve_app.jobs.results import ResultStore
from serve_app.jobs.store import JobStore

_UNKNOWN = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class JobFile:
    """A file in the results' store. etag: of this file alone; name: for a download."""

    key: str
    media_type: str
    size_bytes: int
    etag: str
    name: str


async def file_of(results: ResultStore, job: Job, number: int) -> JobFile:
    """Find a file of a job.

    Raises JobNotFinished, JobHasNoResult, JobNotFound for a number that it has not, and
    ResultExpired.
    """
    if not job.status.is_final:
        raise JobNotFinished(f"The job is {job.status}: fetch its audio once it has succeeded", 1.0)
    if job.status is not JobStatus.SUCCEEDED:
        detail = (job.error or {}).get("detail", "")
        raise JobHasNoResult(f"The job {job.status}, and has no audio. {detail}".strip())
    if job.results_deleted:
        raise _expired()
    if number >= len(job.results):
        raise JobNotFound(f"The job has {len(job.results)} files: their numbers begin with 0")
    key = job.results[number].key
    if key is None:
        raise JobHasNoResult("The file went to the job's upload address, and is not kept here")
    return await _stored(results, job.id, number, key)


async def signed_file(
    store: JobStore, results: ResultStore, links: Links, place: tuple[str, int], token: str
) -> JobFile:
    """Find the file of a signed link. place: id of the job, and number.

    Raises Unauthorized and ResultExpired.
    """
    job_id, number = place
    key = links.value_of(audio_purpose(job_id, number), token)
    if not await store.is_kept(job_id):
        raise _expired()
    return await _stored(results, job_id, number, key)


async def _stored(results: ResultStore, job_id: str, number: int, key: str) -> JobFile:
    size = await results.size(key)
    if size is None:
        raise _expired()
    suffix = key.rpartition(".")[2]
    spec = format_of_suffix(suffix)
    media_type = _UNKNOWN if spec is None else spec.media_type
    etag = '"' + key.replace("/", "-") + '"'
    return JobFile(key, media_type, size, etag, f"{job_id}-{number}.{suffix}")


def _expired() -> ResultExpired:
    return ResultExpired("The file has been deleted: results are kept for a time (`expires_at`)")
