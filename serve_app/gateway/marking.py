"""Marks of the files that the service sends: tags and signed manifests, as configured."""

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Self

from serve_app.audio.file_format import FormatSpec, Tagging, names_with_manifests
from serve_app.config.provenance import ProvenanceConfig
from serve_app.errors import FormatNotSigned, SigningFailed
from serve_app.gateway.observer import LogObserver, RequestObserver
from serve_app.marks import tags_of
from serve_app.model_status import ModelCard
from serve_app.provenance.credentials import read_credentials
from serve_app.provenance.manifest import Converted, Definition, Generated
from serve_app.provenance.signer import ManifestSigner, SigningJob
from serve_app.types import Audio, GenerationRequest

_Version = tuple[int, int, int] | None  # changes whenever the file does


class Marking:
    """Marks files, and refuses those that would lack a configured mark.

    signer: None: none signs; versions: states of the files that it was read from.
    """

    def __init__(
        self,
        config: ProvenanceConfig | None = None,
        signer: ManifestSigner | None = None,
        observer: RequestObserver | None = None,
        versions: Sequence[_Version] = (),
    ) -> None:
        self._config = config or ProvenanceConfig()
        self.signer = signer
        self._observer = observer or LogObserver()
        self._versions = versions

    @classmethod
    def of(
        cls,
        config: ProvenanceConfig,
        observer: RequestObserver,
        environment: Mapping[str, str] = os.environ,
    ) -> Self:
        """Read the credentials. Raises ConfigError for a pair that cannot sign, or is missing."""
        versions = _versions(config)
        return cls(config, _signer(config, environment), observer, versions)

    def renew(self) -> bool:
        """Read the files of the credentials again, if they have changed since the last time.

        Raises ConfigError for a pair that cannot sign, and for files without one; the last pair
        stays in force.
        """
        versions = _versions(self._config)
        if versions == self._versions:
            return False
        self._versions = versions
        self.signer = _signer(self._config, {}) or self.signer
        return True

    @property
    def with_prompt(self) -> bool:
        """Whether files may tell the prompt."""
        return self._config.tag_prompt

    @property
    def with_tags(self) -> bool:
        """Whether files that had no tags get them."""
        return self._config.tags

    def signs(self, spec: FormatSpec, *, streamed: bool) -> bool:
        """Whether files of this format carry a signed manifest."""
        return self.signer is not None and spec.holds_manifest and not streamed

    def tags(self, request: GenerationRequest, model: ModelCard) -> dict[str, str]:
        """Collect the tags that the configuration wants in the files of a track."""
        return self._all_tags(request, model) if self._config.tags else {}

    def check(
        self,
        spec: FormatSpec,
        *,
        streamed: bool = False,
        detachable: bool = False,
        offers_json: bool = False,
    ) -> None:
        """Refuse a file before it is made.

        streamed: the file is sent while it is made; detachable: a manifest beside the file does;
        offers_json: the caller could ask for JSON with such a manifest instead. Raises
        FormatNotSigned, and SigningFailed where no file can be signed.
        """
        if self.signer is None:
            return
        if (spec.holds_manifest or detachable) and not streamed:
            with self._counted_failures():
                self.signer.check()
        elif self._config.unsigned_formats == "refuse":
            self._observer.file_refused(spec.name)
            raise FormatNotSigned(
                f"{'A stream' if streamed else f'A file of the format {spec}'} cannot hold the signed "
                "manifest that this service requires: ask for a whole file "
                f"({', '.join(names_with_manifests())})"
                f"{', or for response_format json' if offers_json else ''}"
            )

    async def mark(
        self,
        content: bytes,
        spec: FormatSpec,
        request: GenerationRequest,
        model: ModelCard,
        *,
        detachable: bool = False,
    ) -> bytes:
        """Put a signed manifest into a whole file of a track, if one is configured.

        detachable: the caller sends a manifest beside a file that cannot hold one. Raises
        FormatNotSigned, SigningFailed and DeadlineExceeded.
        """
        self.check(spec, detachable=detachable)
        if self.signer is not None and spec.holds_manifest:
            definition = self._generated(request, model)
            with self._counted_failures():
                content = await self.signer.embed(
                    content, spec.media_type, definition, request.deadline
                )
            self._observer.file_marked(spec.name, "manifest")
        self.count_made(spec)
        return content

    async def detached(
        self, content: bytes, spec: FormatSpec, request: GenerationRequest, model: ModelCard
    ) -> bytes | None:
        """Sign a manifest beside a file that cannot hold one; None: not configured, or not needed.

        Raises SigningFailed and DeadlineExceeded.
        """
        if self.signer is None or spec.holds_manifest:
            return None
        definition = self._generated(request, model)
        with self._counted_failures():
            manifest = await self.signer.detach(
                content, spec.media_type, definition, request.deadline
            )
        self._observer.file_marked(spec.name, "detached_manifest")
        return manifest

    async def mark_conversion(
        self,
        source: Path,
        target: Path,
        spec: FormatSpec,
        facts: Converted,
        parent: bytes,
        deadline: float | None = None,
    ) -> bool:
        """Write a converted file with a signed manifest to `target`; False: it gets none.

        parent: archive of the old file's manifests; deadline: of the request, a Unix time. Raises
        FormatNotSigned, SigningFailed and DeadlineExceeded.
        """
        self.check(spec)
        if self.signer is None or not spec.holds_manifest:
            return False
        definition = facts.definition()
        with self._counted_failures(), source.open("rb") as old, target.open("w+b") as new:
            job = SigningJob(old, new, spec.media_type, definition, parent, deadline=deadline)
            await self.signer.sign(job)
        return True

    def count_made(self, spec: FormatSpec) -> None:
        """Count the file of a track: its tags, and its watermark."""
        self._count_tags(spec, self._config.tags)
        if self._config.watermark.generator_file is not None:
            self._observer.file_marked(spec.name, "watermark")

    def count_converted(self, spec: FormatSpec, *, tagged: bool, signed: bool) -> None:
        """Count a converted file with generated audio that is sent. tagged: where there is room."""
        if signed:
            self._observer.file_marked(spec.name, "manifest")
        self._count_tags(spec, tagged)

    def _count_tags(self, spec: FormatSpec, tagged: bool) -> None:
        has_tags = tagged and spec.tagging is not Tagging.NONE
        self._observer.file_marked(spec.name, "tags" if has_tags else "none")

    @contextlib.contextmanager
    def _counted_failures(self) -> Iterator[None]:
        try:
            yield
        except SigningFailed:
            self._observer.signing_failed()
            raise

    def _generated(self, request: GenerationRequest, model: ModelCard) -> Definition:
        return Generated(
            model=model.model_id,
            source=model.source,
            tags=self._all_tags(request, model),
            audio_prompt_sha256=_sha256_of(request.audio_prompt),
            melody_sha256=_sha256_of(request.melody),
            training_use=self._config.training_use,
        ).definition()

    def _all_tags(self, request: GenerationRequest, model: ModelCard) -> dict[str, str]:
        prompt = request.prompt if self.with_prompt else None
        name = f"{model.model_id} ({model.source})"
        return tags_of(name, model.license, request.sampling.seed, prompt)


def _sha256_of(upload: Audio | None) -> str:
    return "" if upload is None else upload.file_sha256


def _signer(config: ProvenanceConfig, environment: Mapping[str, str]) -> ManifestSigner | None:
    credentials = read_credentials(config, environment)
    return None if credentials is None else ManifestSigner(credentials, config.timestamp_url)


def _versions(config: ProvenanceConfig) -> list[_Version]:
    """Tell the states of the files of the credentials; None: there is none of that name."""
    files = (config.certificate_file, config.private_key_file)
    return [_version(Path(file)) for file in files if file is not None]


def _version(file: Path) -> _Version:
    try:
        stat = file.stat()
    except OSError:
        return None
    return (stat.st_ino, stat.st_mtime_ns, stat.st_size)
