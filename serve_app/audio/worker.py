"""The process in which uploads are decoded: `python -m serve_app.audio.worker`.

A fault of a decoder ends this process and not the service; the kernel bounds its memory and its CPU
time, job by job. A job is a line of JSON and the file's bytes on standard input, an answer a line of
JSON and the samples' bytes on standard output. An exception that is not expected ends the process.
"""

import base64
import json
import math
import os
import resource
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

import av
import numpy as np

from serve_app.audio.converter import Converter
from serve_app.audio.decoder import MAX_RATE
from serve_app.audio.file_format import FORMATS, Encoding, SampleFormat
from serve_app.audio.inspector import Inspector
from serve_app.audio.mastering import Mastering, Normalization
from serve_app.audio.reader import read_samples
from serve_app.errors import InvalidRequest
from serve_app.provenance.parent import read_parent

Job = Mapping[str, Any]
Answer = dict[str, Any]

_LIBRARIES_BYTES = 256 * 2**20
_COPIES = 3  # of a job's content and of its samples
_MOST_BYTES_PER_S = 2 * 4 * MAX_RATE  # of samples


def serve(jobs: BinaryIO, answers: BinaryIO, limit: Callable[[Job], None]) -> None:
    """Answer the jobs, one after the other, until there are no more. limit: called before each."""
    while line := jobs.readline():
        job = json.loads(line)
        limit(job)
        content = jobs.read(job["size"])
        answer, samples = _answer(job, content)
        answers.write(json.dumps(answer | {"size": samples.nbytes}).encode() + b"\n")
        answers.write(samples)
        answers.flush()


def limit_process(job: Job) -> None:
    """Bound what the process may use until the end of the job: memory, and CPU time from now on."""
    pcm = int(job["max_duration_s"] * _MOST_BYTES_PER_S) if job["task"] == "read" else 0
    most_bytes = _LIBRARIES_BYTES + _COPIES * (job["size"] + pcm)
    resource.setrlimit(resource.RLIMIT_DATA, (most_bytes, resource.RLIM_INFINITY))
    used = resource.getrusage(resource.RUSAGE_SELF)
    most_s = math.ceil(used.ru_utime + used.ru_stime + job["max_cpu_s"])
    resource.setrlimit(resource.RLIMIT_CPU, (most_s, resource.RLIM_INFINITY))


def _answer(job: Job, content: bytes) -> tuple[Answer, memoryview]:
    """Do a job; return its answer and the bytes of samples [channels, n], or of an archive."""
    try:
        if job["task"] == "read":
            return _read(job, content)
        if job["task"] == "inspect":
            return _inspect(job, content), memoryview(b"")
        return _convert(job, content)
    except InvalidRequest as error:
        return {"error": error.code, "message": error.message}, memoryview(b"")


def _read(job: Job, content: bytes) -> tuple[Answer, memoryview]:
    samples, rate = read_samples(content, job["max_duration_s"], job["sample_rate"], cut=job["cut"])
    answer = {"channels": len(samples), "sample_rate": rate}
    return answer, np.ascontiguousarray(samples, "<f4").data.cast("B")


def _inspect(job: Job, content: bytes) -> Answer:
    inspector = Inspector(content, job["max_duration_s"])
    pcm = Path(job["path"]) if job["path"] else None
    detached = None if job["manifest"] is None else base64.b64decode(job["manifest"])
    try:
        found = inspector.inspect(job["trust_anchors"], pcm, detached=detached)
    except InvalidRequest as error:
        return {
            "error": error.code,
            "message": error.message,
            "decoded_s": inspector.decoded_s,
        }
    return asdict(found) | {"manifest": found.manifest.model_dump()}


def _convert(job: Job, content: bytes) -> tuple[Answer, memoryview]:
    parent = read_parent(content, with_archive=job["with_manifest"])
    converter = Converter(
        content,
        job["max_duration_s"],
        _encoding(job["encoding"]),
        _mastering(job["mastering"]),
        with_prompt=job["with_prompt"],
        stated=parent.marks if job["with_tags"] else {},
    )
    try:
        converter.write(Path(job["path"]))
    except InvalidRequest as error:
        fault = {
            "error": error.code,
            "message": error.message,
            "decoded_s": converter.decoded_s,
        }
        return fault, memoryview(b"")
    answer = {
        "decoded_s": converter.decoded_s,
        "tagged": bool(converter.marks),
        "by_tags": converter.by_tags,
        "by_manifest": bool(parent.marks),
        "unkept": parent.unkept,
    }
    return answer, memoryview(parent.archive)


def _encoding(fields: Mapping[str, Any]) -> Encoding:
    return Encoding(
        FORMATS[fields["file_format"]],
        fields["sample_rate"],
        SampleFormat(fields["sample_format"]),
        fields["bitrate_kbps"],
    )


def _mastering(fields: Mapping[str, Any]) -> Mastering:
    return Mastering(**(dict(fields) | {"normalization": Normalization(fields["normalization"])}))


def main() -> None:
    """Serve the jobs on standard input at the niceness of the first argument."""
    os.nice(int(sys.argv[1]))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    av.logging.set_level(None)
    serve(sys.stdin.buffer, sys.stdout.buffer, limit_process)


if __name__ == "__main__":
    main()
