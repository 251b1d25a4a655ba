"""Small random models of several architectures, written in each of the two checkpoint formats."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import nn

from tests.separation import separation
from tests.untraced import untraced
from tools.nano.tokenizer import make_tokenizer


@dataclass(frozen=True)
class Architecture:
    """Architecture of a MusicGen to build. Only AudioCraft's format can hold `biases`."""

    name: str
    hidden_size: int = 32
    num_layers: int = 3
    num_heads: int = 4
    ffn_dim: int = 128
    codebook_size: int = 64
    stereo: bool = False
    biases: bool = False
    text_size: int = 24
    upsampling_ratios: tuple[int, ...] = (4, 3, 2)
    sample_rate: int = 8000
    causal: bool = False
    residual_layers: int = 1
    num_filters: int = 4  # of the codec's audio
    window_s: int = 30
    melody: bool = False
    chroma_fft_bits: int = 12  # 235 frames of chroma in 30 s of 8 kHz, as in the published models

    @property
    def chroma_length(self) -> int:
        """Frames of chroma in a window."""
        return 1 + self.window_s * self.sample_rate // (self.chroma_fft_size // 4)

    @property
    def chroma_fft_size(self) -> int:
        return 1 << self.chroma_fft_bits

    @property
    def num_codebooks(self) -> int:
        return 8 if self.stereo else 4

    @property
    def t5_name(self) -> str:
        """Name of the T5 in an export. Tests share the hub's cache, so that each width has its own."""
        return "t5-large" if self.text_size == 1024 else "t5-small"

    @property
    def delays(self) -> list[int]:
        return [0, 0, 1, 1, 2, 2, 3, 3] if self.stereo else [0, 1, 2, 3]


MONO = Architecture("mono")
STEREO = Architecture("stereo", stereo=True)
BIASES = Architecture("biases", biases=True)
ODD = Architecture(
    "odd widths",
    hidden_size=36,
    num_heads=6,
    ffn_dim=84,
    codebook_size=50,
    num_layers=2,
    residual_layers=2,
)
EQUAL_TEXT = Architecture(
    "text as wide as the decoder", text_size=32, upsampling_ratios=(5, 2), causal=True
)
# As many filters as the published codecs: its layers and its LSTM run on the CPU kernels.
WIDE_CODEC = Architecture("wide codec", num_filters=64, upsampling_ratios=(4, 2, 2))
# AudioGen's sample rate, window, frame rate and width of text, in AudioCraft's format alone.
AUDIOGEN = Architecture(
    "audiogen", text_size=1024, upsampling_ratios=(8, 5, 4, 2), sample_rate=16_000, window_s=10
)
MELODY = Architecture("melody", melody=True)
STEREO_MELODY = Architecture("stereo melody", melody=True, stereo=True)
HUGGINGFACE = [MONO, STEREO, ODD, EQUAL_TEXT]
AUDIOCRAFT = [MONO, STEREO, BIASES, ODD, AUDIOGEN]


def randomize(module: nn.Module) -> None:
    """Move every parameter and codebook away from its default, so that none can be left out unnoticed."""
    for name, parameter in [*module.named_parameters(), *module.named_buffers()]:
        if name.endswith(("embed", "embed_avg")):
            nn.init.normal_(parameter.data)
        elif not isinstance(parameter, nn.Parameter):
            continue
        elif "norm" in name and name.endswith("weight"):
            nn.init.normal_(parameter.data, mean=1.0, std=0.2)
        elif parameter.ndim == 1:
            nn.init.normal_(parameter.data, std=0.1)
        elif name.startswith("emb") or "embed_tokens" in name:
            nn.init.normal_(parameter.data, std=2.0)
        elif parameter.ndim == 2:
            nn.init.normal_(parameter.data, std=1.5 * parameter.shape[-1] ** -0.5)


def make_t5(architecture: Architecture) -> Any:
    from transformers import T5Config, T5EncoderModel

    size = architecture.text_size
    config = T5Config(
        vocab_size=len(make_tokenizer()),
        d_model=size,
        d_kv=8,
        d_ff=2 * size,
        num_layers=2,
        num_heads=3,
    )
    t5 = T5EncoderModel(config)
    randomize(t5)
    return t5.eval()


def write_t5(architecture: Architecture, folder: Path) -> Path:
    """Write a T5 repository: `config.json`, `model.safetensors`, tokenizer."""
    make_t5(architecture).save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder


def make_encodec(architecture: Architecture, channels: int = 1) -> Any:
    from transformers import EncodecConfig, EncodecModel

    frame_rate = math.ceil(architecture.sample_rate / math.prod(architecture.upsampling_ratios))
    # transformers derives the number of codebooks from the bandwidth, rounding down.
    bandwidth = 4.01 * math.log2(1024) * frame_rate / 1000
    config = EncodecConfig(
        sampling_rate=architecture.sample_rate,
        audio_channels=channels,
        upsampling_ratios=list(architecture.upsampling_ratios),
        num_filters=architecture.num_filters,
        hidden_size=16,
        codebook_size=1024,
        target_bandwidths=[bandwidth],
        use_causal_conv=architecture.causal,
        use_conv_shortcut=architecture.causal,
        num_residual_layers=architecture.residual_layers,
    )
    codec = EncodecModel(config)
    randomize(codec)
    return codec.eval()


@untraced
def write_huggingface(architecture: Architecture, folder: Path, **save: Any) -> Path:
    """Write a MusicGen folder by `transformers`; save: options of its `save_pretrained`."""
    torch.manual_seed(1)
    model = _melody_model(architecture) if architecture.melody else _text_model(architecture)
    randomize(model)
    generation = model.generation_config
    generation.decoder_start_token_id = architecture.codebook_size
    generation.pad_token_id = architecture.codebook_size
    generation.bos_token_id = architecture.codebook_size
    generation.guidance_scale = 3.0
    generation.do_sample = False
    model.save_pretrained(folder, **save)
    make_tokenizer().save_pretrained(folder)
    if architecture.melody:
        melody_extractor(architecture).save_pretrained(folder)
    return folder


def _text_model(architecture: Architecture) -> Any:
    from transformers import MusicgenConfig, MusicgenDecoderConfig, MusicgenForConditionalGeneration

    decoder = MusicgenDecoderConfig(**_decoder_options(architecture))
    config = MusicgenConfig(**_sections(architecture, decoder))
    return MusicgenForConditionalGeneration(config)


def _melody_model(architecture: Architecture) -> Any:
    from transformers import MusicgenMelodyConfig, MusicgenMelodyForConditionalGeneration
    from transformers.models.musicgen_melody import MusicgenMelodyDecoderConfig

    decoder = MusicgenMelodyDecoderConfig(**_decoder_options(architecture))
    sections = _sections(architecture, decoder)
    config = MusicgenMelodyConfig(**sections, chroma_length=architecture.chroma_length)
    return MusicgenMelodyForConditionalGeneration(config)


def _decoder_options(architecture: Architecture) -> dict[str, Any]:
    return {
        "vocab_size": architecture.codebook_size,
        "num_hidden_layers": architecture.num_layers,
        "ffn_dim": architecture.ffn_dim,
        "num_attention_heads": architecture.num_heads,
        "hidden_size": architecture.hidden_size,
        "num_codebooks": architecture.num_codebooks,
        "audio_channels": 2 if architecture.stereo else 1,
        "pad_token_id": architecture.codebook_size,
        "bos_token_id": architecture.codebook_size,
    }


def _sections(architecture: Architecture, decoder: Any) -> dict[str, Any]:
    return {
        "text_encoder": make_t5(architecture).config.to_dict(),
        "audio_encoder": make_encodec(architecture).config.to_dict(),
        "decoder": decoder.to_dict(),
    }


def melody_extractor(architecture: Architecture) -> Any:
    """Build transformers' extractor of chroma."""
    from transformers import MusicgenMelodyFeatureExtractor

    return MusicgenMelodyFeatureExtractor(
        sampling_rate=architecture.sample_rate,
        n_fft=architecture.chroma_fft_size,
        hop_length=architecture.chroma_fft_size // 4,
    )


def experiment_config(architecture: Architecture) -> dict[str, Any]:
    """Build AudioCraft's `xp.cfg` of the language model."""
    lm = {
        "n_q": architecture.num_codebooks, "card": architecture.codebook_size, "dim": architecture.hidden_size,
        "num_heads": architecture.num_heads, "num_layers": architecture.num_layers,
        "hidden_scale": architecture.ffn_dim / architecture.hidden_size, "norm_first": True, "causal": True,
        "activation": "gelu", "bias_proj": architecture.biases, "bias_ff": architecture.biases,
        "bias_attn": architecture.biases, "memory_efficient": True, "dropout": 0.0, "norm": "layer_norm",
        "positional_embedding": "sin", "layer_scale": None, "emb_lr": None, "two_step_cfg": False,
    }  # fmt: skip
    description = {
        "model": "t5",
        "t5": {"name": architecture.t5_name, "finetune": False, "word_dropout": 0.3},
    }
    chroma = {
        "sample_rate": "${sample_rate}",
        "n_chroma": 12,
        "radix2_exp": architecture.chroma_fft_bits,
        "argmax": True,
        "match_len_on_eval": False,
        "eval_wavs": None,
        "n_eval_wavs": 100,
        "cache_path": "/checkpoint/chroma_cache",
    }
    conditioners: dict[str, Any] = {"args": {}, "description": description}
    if architecture.melody:
        conditioners["self_wav"] = {"model": "chroma_stem", "chroma_stem": chroma}
    return {
        "sample_rate": architecture.sample_rate, "channels": 2 if architecture.stereo else 1, "device": "cpu",
        "dtype": "float32", "lm_model": "transformer_lm", "transformer_lm": lm,
        "codebooks_pattern": {"modeling": "delay", "delay": {"delays": architecture.delays, "flatten_first": 0,
                                                             "empty_initial": 0}},
        "conditioners": conditioners,
        "fuser": {"cross_attention_pos_emb": False, "cross_attention_pos_emb_scale": 1, "sum": [],
                  "prepend": ["self_wav", "description"] if architecture.melody else [],
                  "cross": [] if architecture.melody else ["description"], "input_interpolate": []},
        "classifier_free_guidance": {"training_dropout": 0.3, "inference_coef": 3.0}, "attribute_dropout": {},
        "interleave_stereo_codebooks": {"use": architecture.stereo, "per_timestep": False},
        "dataset": {"segment_duration": architecture.window_s},
    }  # fmt: skip


def codec_experiment_config(architecture: Architecture) -> dict[str, Any]:
    """Build AudioCraft's `xp.cfg` of the codec. Some values are references, as in real exports."""
    return {
        "sample_rate": architecture.sample_rate, "channels": 1, "device": "cpu", "compression_model": "encodec",
        "encodec": {"autoencoder": "seanet", "quantizer": "rvq", "sample_rate": "${sample_rate}",
                    "channels": "${channels}", "causal": architecture.causal, "renormalize": False},
        "seanet": {"dimension": 16, "channels": "${channels}", "causal": "${encodec.causal}",
                   "n_filters": architecture.num_filters,
                   "n_residual_layers": architecture.residual_layers, "ratios": list(architecture.upsampling_ratios),
                   "activation": "ELU", "activation_params": {"alpha": 1.0}, "norm": "weight_norm", "norm_params": {},
                   "kernel_size": 7, "residual_kernel_size": 3, "last_kernel_size": 7, "dilation_base": 2,
                   "pad_mode": "constant", "true_skip": True, "compress": 2, "lstm": 2, "disable_norm_outer_blocks": 0,
                   "decoder": {"trim_right_ratio": 1.0, "final_activation": None, "final_activation_params": None},
                   "encoder": {}},
        "rvq": {"n_q": 4, "q_dropout": False, "bins": 128, "decay": 0.99, "kmeans_init": True},
    }  # fmt: skip


@untraced
def write_audiocraft(architecture: Architecture, folder: Path, hub_cache: Path) -> Path:
    """Write an AudioCraft export, and its T5 into the hub's cache under the name in the export."""
    from audiocraft.models import builders
    from omegaconf import OmegaConf

    torch.manual_seed(1)
    put_in_cache(hub_cache, architecture.t5_name, lambda path: write_t5(architecture, path))
    folder.mkdir(parents=True, exist_ok=True)
    cfg = OmegaConf.create(experiment_config(architecture))
    built = OmegaConf.create(experiment_config(architecture))
    if architecture.melody:
        del built.conditioners.self_wav.chroma_stem["cache_path"]
    with t5_width(architecture), separation(architecture):
        lm = builders.get_lm_model(built)
    codec_cfg = OmegaConf.create(codec_experiment_config(architecture))
    codec = builders.get_compression_model(codec_cfg)
    for module, config, name in (
        (lm, cfg, "state_dict.bin"),
        (codec, codec_cfg, "compression_state_dict.bin"),
    ):
        randomize(module)
        for buffer_name, buffer in module.named_buffers():
            if buffer_name.endswith("inited"):
                buffer.fill_(1)
        package = {
            "best_state": module.state_dict(),
            "xp.cfg": OmegaConf.to_yaml(config),
            "version": "1.3.0",
        }
        torch.save(package | {"exported": True}, folder / name)
    return folder


def t5_width(architecture: Architecture) -> Any:
    """Patch AudioCraft's table of the widths of the published T5s: the tests' T5 is smaller."""
    from audiocraft.modules.conditioners import T5Conditioner

    return mock.patch.dict(
        T5Conditioner.MODELS_DIMS, {architecture.t5_name: architecture.text_size}
    )


def put_in_cache(hub_cache: Path, repository: str, write: Any) -> None:
    """Put a repository into the hub's cache as a download would; write: fills its folder."""
    base = hub_cache / f"models--{repository.replace('/', '--')}"
    snapshot = base / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True, exist_ok=True)
    write(snapshot)
    (base / "refs").mkdir(exist_ok=True)
    (base / "refs" / "main").write_text("0" * 40)
