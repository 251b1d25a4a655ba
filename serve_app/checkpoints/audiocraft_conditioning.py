"""Conditioning in AudioCraft's format: of a text, and of a melody by the conditioner `self_wav`."""

from serve_app.checkpoints.experiment_config import ExperimentConfig
from serve_app.checkpoints.fields import LEAST_SAMPLE_RATE, MOST_CHROMA, MOST_FFT_BITS
from serve_app.errors import CheckpointError
from serve_app.models.chroma import MelodyConfig

MELODY = "self_wav"
_KIND = f"conditioners.{MELODY}.model"
_OPTIONS = f"conditioners.{MELODY}.chroma_stem"
# Buffers of the extractor, which are computed here
IGNORED = rf"condition_provider\.conditioners\.{MELODY}\.chroma\.(spec\.window|fbanks)"
_OTHERS = {
    "style": "a MusicGen-Style, which takes an excerpt's style",
    "chroma_chord": "a variant for chords",
}


def has_melody(cfg: ExperimentConfig) -> bool:
    """Whether a model has a conditioner of a melody."""
    return MELODY in cfg.names("conditioners")


def check_conditioning(cfg: ExperimentConfig) -> None:
    """Raise CheckpointError naming the first conditioner or option that is not supported."""
    conditioners = cfg.names("conditioners") - {"args"}
    if conditioners - {MELODY} != {"description"}:
        raise CheckpointError(
            f"{cfg.file}: conditioners {sorted(conditioners)} are not supported (only "
            f"'description', and '{MELODY}' of a melody model). Use a MusicGen whose conditions are "
            "a text, or a text and a melody."
        )
    cfg.require("conditioners.description.model", "t5")
    cfg.require("conditioners.description.t5.finetune", False, False)
    cfg.require("conditioners.description.t5.normalize_text", False, False)
    if has_melody(cfg):
        _check_melody(cfg)
        # AudioCraft puts the text behind the melody in whatever order they are listed.
        cfg.require_names("fuser.prepend", {MELODY, "description"})
        cfg.require("fuser.cross", [], [])
    else:
        cfg.require("fuser.cross", ["description"])
        cfg.require("fuser.prepend", [], [])
    for other in ("sum", "input_interpolate"):
        cfg.require(f"fuser.{other}", [], [])
    cfg.require("fuser.cross_attention_pos_emb", False, False)


def _check_melody(cfg: ExperimentConfig) -> None:
    """Raise CheckpointError naming the first option of the melody that is not supported.

    Ignored are options of the training, and `match_len_on_eval`, which AudioCraft sets at load.
    """
    kind = cfg.get(_KIND)
    if isinstance(kind, str) and kind in _OTHERS:
        raise CheckpointError(
            f"{cfg.file}: {_KIND} is '{kind}': {_OTHERS[kind]}, and is not supported. Use a melody "
            "model ('chroma_stem'), such as facebook/musicgen-melody, or a text model."
        )
    cfg.require(_KIND, "chroma_stem")
    cfg.require(f"{_OPTIONS}.argmax", True, False)
    for name in ("nfft", "winlen", "winhop", "norm"):
        cfg.require(f"{_OPTIONS}.{name}", None)


def melody_config(cfg: ExperimentConfig, window_s: float) -> MelodyConfig:
    """Translate the conditioner's options; window_s: of the model, which sets the chroma's length.

    Raises CheckpointError naming the first value that is impossible.
    """
    options = cfg.fields(_OPTIONS)
    sample_rate = options.integer("sample_rate", at_least=LEAST_SAMPLE_RATE)
    fft_size = 1 << options.integer("radix2_exp", 12, at_least=2, at_most=MOST_FFT_BITS)
    chroma_length = 1 + max(int(sample_rate * window_s), fft_size) // (fft_size // 4)
    if chroma_length > MOST_CHROMA:
        raise CheckpointError(
            f"{cfg.file}: {_OPTIONS}.radix2_exp makes {chroma_length} frames of chroma in "
            f"{window_s:g} s, above {MOST_CHROMA}. Use the configuration that was saved with these "
            "weights."
        )
    return MelodyConfig(
        num_chroma=options.integer("n_chroma", at_most=MOST_CHROMA),
        chroma_length=chroma_length,
        sample_rate=sample_rate,
        fft_size=fft_size,
    )
