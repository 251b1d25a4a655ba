"""Report on the marks of an audio file: of `/v1/audio/provenance`, the clients and the command."""

from typing import Literal

from pydantic import BaseModel, Field

MOST_MANIFEST_BYTES = 2**20  # of a manifest outside its file
ManifestState = Literal[
    "none", "not_checked", "remote", "unreadable", "invalid", "valid", "trusted"
]


class ManifestReport(BaseModel, frozen=True):
    """A signed manifest (C2PA) of the file, as it is. Its texts are the signer's own."""

    state: ManifestState = Field(
        description="none: the file has none; not_checked: the service lacks the extra `c2pa`; "
        "remote: the file only names the address of its manifest, which is not fetched; "
        "unreadable: damaged; invalid: the file or the manifest was changed, or the signature is "
        "wrong; valid: the signature and the file agree, but nobody vouches for the signer; "
        "trusted: valid, by a signer of the trust list."
    )
    generated: bool = Field(
        default=False, description="The manifest says that an AI model generated the audio."
    )
    title: str = Field(default="", description="Title of the file.")
    software: str = Field(default="", description="Program that made the manifest.")
    issuer: str = Field(default="", description="Organization in the signer's certificate.")
    signer: str = Field(default="", description="Name in the signer's certificate.")
    signed_at: str = Field(default="", description="Time of a time-stamp server.")
    address: str = Field(default="", description="Address that the file names, if it is remote.")
    faults: list[str] = Field(default=[], description="C2PA's codes of what failed.")


class WatermarkReport(BaseModel, frozen=True):
    """The watermark, by AudioSeal's detector."""

    detected: bool = Field(
        description="The score reaches `provenance.watermark.detection_threshold`."
    )
    score: float = Field(ge=0.0, le=1.0, description="Part of the samples that seem marked.")
    message: int | None = Field(description="The watermark's 16 bits, if it was detected.")
    examined_s: float = Field(description="Seconds that were examined, from the beginning.")


class ProvenanceReport(BaseModel, frozen=True):
    """Statements of the marks of a file. Absent marks prove nothing; tags can be forged."""

    generated: bool = Field(
        description="A mark says that an AI model generated the audio: tags, a manifest that is "
        "valid, or a detected watermark."
    )
    duration_s: float = Field(description="Duration of the audio that was decoded, in seconds.")
    sample_rate: int = Field(description="Sample rate of the file, in Hz; 0: nothing was decoded.")
    channels: int = Field(
        description="Channels; more than two count as two. 0: the audio cannot be decoded (bare "
        "samples, say), and only its detached manifest was checked."
    )
    tags: dict[str, str] = Field(
        description="Tags of generated audio, by name; empty for a file that is not marked so."
    )
    manifest: ManifestReport = Field(description="The signed manifest (C2PA).")
    watermark: WatermarkReport | None = Field(
        description="The watermark; null: the service has no detector, or nothing was decoded."
    )


def says_generated(
    tags: dict[str, str], manifest: ManifestReport, watermark: WatermarkReport | None
) -> bool:
    """Whether any mark that can be believed of its file says that the audio was generated."""
    by_manifest = manifest.generated and manifest.state in ("valid", "trusted")
    return bool(tags) or by_manifest or (watermark is not None and watermark.detected)
