"""Check 10: the codec in chunks against the codec as a whole, and against itself."""

from collections.abc import Iterator

import torch
from torch import Tensor

from benchmarks.codec import models, streamed
from benchmarks.gpu_check.clock import seconds
from benchmarks.gpu_check.measurement import Measurement, Setting, at_most, found, holds
from benchmarks.gpu_check.models import EMBEDDED
from serve_app.checkpoints.checkpoint import load_checkpoint
from serve_app.models.encodec.model import Encodec
from serve_app.models.encodec.streaming import DecoderState

_DURATION_S = 10.0
_BOUNDS = {False: 1e-5, True: 1e-3}  # of the peak, by TF32


@torch.inference_mode()
def run(setting: Setting) -> Iterator[Measurement]:
    """Yield errors without and with TF32; on a CPU, without."""
    codec = load_checkpoint(EMBEDDED).codec if setting.tiny else models(setting.device)[1]
    duration_s = _DURATION_S if setting.on_gpu else 2.2
    frames = round(duration_s * codec.config.frame_rate)
    generator = torch.Generator().manual_seed(0)
    codes = torch.randint(codec.config.codebook_size, (1, 4, frames), generator=generator)
    codes = codes.to(setting.device)
    torch.backends.cudnn.deterministic = True
    for tf32 in (False, True) if setting.on_gpu else (False,):
        torch.backends.cudnn.allow_tf32 = tf32
        torch.backends.cuda.matmul.allow_tf32 = tf32
        whole = in_one(codec, codes)
        again, elapsed_s = timed(codec, codes)
        error = float((streamed(codec, codes) - whole).abs().max() / whole.abs().max())
        label = f"TF32 {'on' if tf32 else 'off'}"
        yield at_most(f"{label}: in chunks of a second as the whole", error, _BOUNDS[tf32])
        yield holds(f"{label}: twice bit-equal", torch.equal(whole, again))
        yield found(f"{label}: {duration_s:g} s of audio", round(elapsed_s, 4), "s")


def in_one(codec: Encodec, codes: Tensor) -> Tensor:
    """Decode in one pass: codes [1, K, T] -> audio [1, 1, n]"""
    return codec.decode_chunk(codes, DecoderState(), True)


def timed(codec: Encodec, codes: Tensor) -> tuple[Tensor, float]:
    """Decode in one pass; return the audio and the seconds."""
    audio: list[Tensor] = []
    elapsed_s = seconds(lambda: audio.append(in_one(codec, codes)), codes.device)
    return audio[0], elapsed_s
