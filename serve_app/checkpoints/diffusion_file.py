"""Files of MultiBand Diffusion in this package's form: a folder with safetensors and JSON.

Without torch, so that a check before a start may use it. Loading checks the tensors themselves.
"""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from serve_app.checkpoints.faults import unreadable_named
from serve_app.errors import CheckpointError

WEIGHTS = "multiband_diffusion.safetensors"
FACTS = "multiband_diffusion.json"
CONVERT = "Convert the published file once: `musicgen convert-mbd SOURCE.th FOLDER`."
_MOST_BANDS = 32
_MOST_CHANNELS = 2**16

Count = Annotated[int, Field(ge=1, le=_MOST_CHANNELS)]
Number = Annotated[float, Field(allow_inf_nan=False)]


class UnetFacts(BaseModel):
    """Arguments of AudioCraft's DiffusionUnet. codec_dim: width of the codec's latents."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    hidden: Count = 24
    depth: Annotated[int, Field(ge=1, le=16)] = 3
    growth: Annotated[Number, Field(gt=0)] = 2.0
    max_channels: Count = 10_000
    emb_all_layers: bool = False
    cross_attention: bool = False
    bilstm: bool = False
    transformer: bool = False
    codec_dim: Count
    kernel: Count = 4
    stride: Count = 2
    norm_groups: Count = 4
    res_blocks: Annotated[int, Field(ge=0, le=64)] = 1
    dropout: Annotated[Number, Field(ge=0, le=1)] = 0.0


class ScheduleFacts(BaseModel):
    """Arguments of AudioCraft's NoiseSchedule, which ignores those of training."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    beta_t0: Annotated[Number, Field(gt=0, lt=1)] = 1e-4
    beta_t1: Annotated[Number, Field(gt=0, lt=1)] = 0.02
    beta_exp: Annotated[Number, Field(gt=0)] = 1.0
    num_steps: Literal[1000] = 1000  # at whose last AudioCraft's subsampling begins
    variance: Literal["beta", "beta_tilde", "none"] = "beta"
    clip: Number = 5.0
    rescale: Number = 1.0
    repartition: Literal["power"] = "power"
    n_bands: None = None
    noise_scale: Number = 1.0


class ProcessorFacts(BaseModel):
    """Arguments of AudioCraft's MultiBandProcessor; without `use` the samples stay as they are."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    use: bool = False
    name: str = ""
    n_bands: Annotated[int, Field(ge=1, le=1024)] = 8
    num_samples: Annotated[int, Field(ge=0)] = 10_000
    power_std: Number = 1.0


class BandFacts(BaseModel):
    """One frequency band's diffusion model."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    channels: Literal[1] = 1
    schedule: ScheduleFacts = ScheduleFacts()
    diffusion_unet: UnetFacts
    processor: ProcessorFacts = ProcessorFacts()


class DiffusionFacts(BaseModel):
    """Architecture of all bands. sample_rate: of the audio, in Hz."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    sample_rate: Annotated[int, Field(ge=1000, le=384_000)]
    bands: Annotated[list[BandFacts], Field(min_length=1, max_length=_MOST_BANDS)]

    @property
    def codec_dim(self) -> int:
        return self.bands[0].diffusion_unet.codec_dim


def parse_facts(file: Path, content: Any) -> DiffusionFacts:
    """Check an architecture. Raises CheckpointError that names each option that is not supported."""
    try:
        facts = DiffusionFacts.model_validate(content)
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()
        )
        raise CheckpointError(
            f"{file}: describes no MultiBand Diffusion that is supported ({faults}). Use AudioCraft's "
            "mbd_musicgen_32khz.th, or one that was trained with its configuration."
        ) from error
    widths = {band.diffusion_unet.codec_dim for band in facts.bands}
    if len(widths) > 1:
        raise CheckpointError(
            f"{file}: its bands take latents of the widths {sorted(widths)}, which no codec has. "
            f"{CONVERT}"
        )
    return facts


def read_facts(source: str) -> tuple[Path, DiffusionFacts]:
    """Find the weights of a converted folder (or of a file in it), and read their architecture.

    Raises CheckpointError.
    """
    path = Path(source).expanduser()
    weights = path / WEIGHTS if path.is_dir() else path
    file = weights.with_name(FACTS)
    with unreadable_named(weights.parent):
        missing = [one for one in (weights, file) if not one.is_file()]
        if missing:
            raise CheckpointError(f"{missing[0]}: there is no such file. {CONVERT}")
        return weights, parse_facts(file, _json(file))


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{file}: is not JSON ({error}). {CONVERT}") from error
