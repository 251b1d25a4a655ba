"""AudioCraft's export format: its configuration and its tensor names, translated to this package's.

An export is `state_dict.bin` (the language model) and `compression_state_dict.bin` (the codec, or
only the name of a repository that has it). Each holds `best_state`, a state dict, and `xp.cfg`, the
training configuration as YAML text.
"""

from serve_app.checkpoints.audiocraft_conditioning import (
    MELODY,
    check_conditioning,
    has_melody,
    melody_config,
)
from serve_app.checkpoints.audiogen import content_of
from serve_app.checkpoints.experiment_config import ExperimentConfig
from serve_app.checkpoints.fields import (
    LEAST_SAMPLE_RATE,
    MOST_BLOCKS,
    MOST_LAYERS,
    MOST_TAPS,
    PAD_MODES,
    Fields,
)
from serve_app.checkpoints.tensor_store import Source, TensorStore, Third
from serve_app.errors import CheckpointError
from serve_app.models.encodec.config import EncodecConfig
from serve_app.models.encodec.conv import Conv1d, ConvTranspose1d
from serve_app.models.encodec.model import Encodec
from serve_app.models.musicgen.conditioning import conditioning_of
from serve_app.models.musicgen.model import MusicGenConfig
from serve_app.models.musicgen.transformer import TransformerConfig

IGNORED_BY_CODEC = r"quantizer\.vq\.layers\.\d+\._codebook\.(inited|cluster_size|embed_avg)"

# For each option: AudioCraft's default, and the only value that this package supports.
_SUPPORTED_TRANSFORMER = {
    "norm_first": (False, True),
    "norm": ("layer_norm", "layer_norm"),
    "activation": ("relu", "gelu"),
    "causal": (False, True),
    "positional_embedding": ("sin", "sin"),
    "positional_scale": (1.0, 1.0),
    "layer_scale": (None, None),
    "qk_layer_norm": (False, False),
    "qk_layer_norm_cross": (False, False),
    "kv_repeat": (1, 1),
    "past_context": (None, None),
}
_LONGEST_WINDOW_S = 3600


def musicgen_config(cfg: ExperimentConfig, text_hidden_size: int) -> MusicGenConfig:
    """Translate the language model's `xp.cfg`.

    text_hidden_size: width of the text encoder's output.

    Raises CheckpointError naming the first value that is impossible.
    """
    lm = cfg.fields("transformer_lm")
    num_codebooks = lm.integer("n_q", at_most=MOST_LAYERS)
    root = cfg.fields("")
    stereo = root.flag("interleave_stereo_codebooks.use", False)
    window_s = root.number("dataset.segment_duration", 30.0, at_least=1, at_most=_LONGEST_WINDOW_S)
    melody = melody_config(cfg, window_s) if has_melody(cfg) else None
    return MusicGenConfig(
        transformer=_transformer_config(lm),
        num_codebooks=num_codebooks,
        codebook_size=lm.integer("card"),
        delays=_delays(cfg, num_codebooks),
        audio_channels=2 if stereo else root.integer("channels", 1, at_most=2),
        text_hidden_size=text_hidden_size,
        bias_heads=lm.flag("bias_proj", True),
        max_duration_s=window_s,
        content=content_of(cfg),
        conditioning=conditioning_of(melody),
        melody=melody,
    )


def check_language_model(cfg: ExperimentConfig) -> None:
    """Raise CheckpointError naming the first section that is missing or option that is not supported."""
    cfg.require("lm_model", "transformer_lm")
    cfg.require_sections("transformer_lm", "conditioners", "fuser", "codebooks_pattern")
    if cfg.get("sample_rate") is not None:  # of the codec, which has its own
        cfg.fields("").integer("sample_rate", at_least=LEAST_SAMPLE_RATE)
    for name, (default, supported) in _SUPPORTED_TRANSFORMER.items():
        cfg.require(f"transformer_lm.{name}", supported, default)
    check_conditioning(cfg)
    cfg.require("interleave_stereo_codebooks.per_timestep", False, False)


def _transformer_config(lm: Fields) -> TransformerConfig:
    hidden_size = lm.integer("dim")
    num_heads = lm.integer("num_heads")
    lm.require_divisor("num_heads", num_heads, "dim", hidden_size)
    return TransformerConfig(
        hidden_size=hidden_size,
        num_layers=lm.integer("num_layers", at_most=MOST_LAYERS),
        num_heads=num_heads,
        ffn_dim=int(lm.number("hidden_scale", 4, at_least=0.01, at_most=MOST_TAPS) * hidden_size),
        bias_attention=lm.flag("bias_attn", True),
        bias_ffn=lm.flag("bias_ff", True),
    )


def _delays(cfg: ExperimentConfig, num_codebooks: int) -> tuple[int, ...]:
    modeling = cfg.get("codebooks_pattern.modeling")
    if modeling == "parallel":
        return (0,) * num_codebooks
    if modeling is None:  # an older configuration: `q_modeling`, whose delays are always these
        cfg.require("transformer_lm.q_modeling", "delay")
        return tuple(range(num_codebooks))
    cfg.require("codebooks_pattern.modeling", "delay")
    cfg.require("codebooks_pattern.delay.flatten_first", 0, 0)
    cfg.require("codebooks_pattern.delay.empty_initial", 0, 0)
    pattern = cfg.fields("codebooks_pattern.delay")
    delays = pattern.integers(
        "delays", tuple(range(num_codebooks)), at_least=0, at_most=MOST_LAYERS
    )
    if len(delays) != num_codebooks:
        raise CheckpointError(
            f"{cfg.file}: {len(delays)} delays for {num_codebooks} codebooks. Correct "
            "codebooks_pattern.delay.delays, or use a published model."
        )
    return delays


def encodec_config(cfg: ExperimentConfig) -> EncodecConfig:
    """Translate the codec's `xp.cfg`.

    Raises CheckpointError naming the first option that is not supported.
    """
    _check_codec(cfg)
    net = cfg.fields("seanet")
    codec = cfg.fields("encodec")
    rvq = cfg.fields("rvq")
    return EncodecConfig(
        sample_rate=codec.integer("sample_rate", at_least=LEAST_SAMPLE_RATE),
        channels=codec.integer("channels", at_most=2),
        num_quantizers=rvq.integer("n_q", at_most=MOST_LAYERS),
        codebook_size=rvq.integer("bins"),
        codebook_dim=net.integer("dimension", 128),
        num_filters=net.integer("n_filters", 32),
        num_residual_layers=net.integer("n_residual_layers", 3, at_least=0, at_most=MOST_BLOCKS),
        upsampling_ratios=net.integers("ratios", (8, 5, 4, 2), at_most=MOST_TAPS),
        kernel_size=net.integer("kernel_size", 7, at_most=MOST_TAPS),
        last_kernel_size=net.integer("last_kernel_size", 7, at_most=MOST_TAPS),
        residual_kernel_size=net.integer("residual_kernel_size", 3, at_most=MOST_TAPS),
        dilation_growth_rate=net.integer("dilation_base", 2, at_most=MOST_BLOCKS),
        compress=net.integer("compress", 2),
        num_lstm_layers=net.integer("lstm", 0, at_least=0, at_most=MOST_LAYERS),
        conv_shortcut=not net.flag("true_skip", True),
        causal=net.flag("causal", False),
        trim_right_ratio=net.number("decoder.trim_right_ratio", 1.0, at_least=0, at_most=1),
        pad_mode=net.one_of("pad_mode", PAD_MODES, "reflect"),
    )


def _check_codec(cfg: ExperimentConfig) -> None:
    if str(cfg.get("compression_model")).lower() == "dac":
        raise CheckpointError(
            f"{cfg.file}: compression_model is 'dac': DAC (the Descript Audio Codec) is not "
            "supported, only 'encodec'. Use a MusicGen that was trained with EnCodec."
        )
    cfg.require("compression_model", "encodec")
    cfg.require_sections("encodec", "seanet", "rvq")
    cfg.require("encodec.autoencoder", "seanet")
    cfg.require("encodec.quantizer", "rvq")
    cfg.require("encodec.renormalize", False, False)
    cfg.require("seanet.activation", "ELU", "ELU")
    cfg.require("seanet.activation_params", {"alpha": 1.0}, {"alpha": 1.0})
    cfg.require("seanet.decoder.final_activation", None)
    norm = cfg.get("seanet.norm", "none")
    if norm not in ("none", "weight_norm"):
        raise CheckpointError(
            f"{cfg.file}: seanet.norm is {norm!r}, which is not supported. Set codec_source "
            "to a codec without normalization layers, such as facebook/encodec_32khz."
        )


def musicgen_sources(config: MusicGenConfig, store: TensorStore) -> dict[str, tuple[Source, ...]]:
    """Map each parameter of `MusicGen` to the tensors of the file that make it up."""
    # An export whose attention is nn.MultiheadAttention has one more level in its names.
    mha = "mha." if store.names("transformer.layers.0.self_attn.mha.") else ""
    conditioners = "condition_provider.conditioners"
    codebooks = range(config.num_codebooks)
    sources: dict[str, tuple[Source, ...]] = {}
    for leaf in ("weight", "bias"):
        sources[f"embedding.{leaf}"] = tuple(f"emb.{k}.{leaf}" for k in codebooks)
        sources[f"heads.{leaf}"] = tuple(f"linears.{k}.{leaf}" for k in codebooks)
        sources[f"text_proj.{leaf}"] = (f"{conditioners}.description.output_proj.{leaf}",)
        sources[f"melody_proj.{leaf}"] = (f"{conditioners}.{MELODY}.output_proj.{leaf}",)
        sources[f"out_norm.{leaf}"] = (f"out_norm.{leaf}",)
        for i in range(config.transformer.num_layers):
            layer = _layer_sources(f"transformer.layers.{i}", mha, leaf)
            sources |= {f"layers.{i}.{name}.{leaf}": (source,) for name, source in layer.items()}
    return sources


def _layer_sources(layer: str, mha: str, leaf: str) -> dict[str, Source]:
    """Map the modules of a `DecoderLayer` to the tensors of `layer`; leaf: "weight" or "bias"."""
    attention = f"{layer}.self_attn.{mha}"
    cross = f"{layer}.cross_attention.{mha}"
    return {
        "self_attn.qkv_proj": f"{attention}in_proj_{leaf}",
        "self_attn.out_proj": f"{attention}out_proj.{leaf}",
        "cross_attn.q_proj": Third(f"{cross}in_proj_{leaf}", 0, 1),
        "cross_attn.kv_proj": Third(f"{cross}in_proj_{leaf}", 1, 3),
        "cross_attn.out_proj": f"{cross}out_proj.{leaf}",
        "self_attn_norm": f"{layer}.norm1.{leaf}",
        "cross_attn_norm": f"{layer}.norm_cross.{leaf}",
        "ffn_norm": f"{layer}.norm2.{leaf}",
        "fc1": f"{layer}.linear1.{leaf}",
        "fc2": f"{layer}.linear2.{leaf}",
    }


def encodec_sources(codec: Encodec) -> dict[str, tuple[Source, ...]]:
    """Map each parameter of `Encodec` to the tensors of the file that make it up."""
    quantizers = range(codec.config.num_quantizers)
    sources: dict[str, tuple[Source, ...]] = {
        "codebooks": tuple(f"quantizer.vq.layers.{k}._codebook.embed" for k in quantizers)
    }
    wrappers = {Conv1d: ".conv.conv", ConvTranspose1d: ".convtr.convtr"}
    for name in codec.state_dict().keys() - {"codebooks"}:
        owner, _, leaf = name.rpartition(".")
        side, _, path = owner.partition(".")
        wrapped = wrappers.get(type(codec.get_submodule(owner)), "")
        sources[name] = (f"{side}.model.{path}{wrapped}.{leaf}",)
    return sources
