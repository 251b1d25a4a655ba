"""Writes a checkpoint in AudioCraft's export format, to be used with AudioCraft itself.

    python -m tools.nano.audiocraft CHECKPOINT FOLDER

CHECKPOINT is a mono MusicGen in the Hugging Face format. FOLDER gets `state_dict.bin`, `compression_state_dict.bin` and
`text_encoder`, a T5 of the checkpoint's own. AudioCraft knows the published T5s alone, so name this one to it first:

    from audiocraft.modules.conditioners import T5Conditioner
    T5Conditioner.MODELS.append("FOLDER/text_encoder")
    T5Conditioner.MODELS_DIMS["FOLDER/text_encoder"] = 96    # what this command prints
    model = audiocraft.models.MusicGen.get_pretrained("FOLDER")

AudioCraft's tokenizer does not lower a prompt's case, as musicgen-nano's own does: write prompts in lower case.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from serve_app.checkpoints.audiocraft import encodec_sources, musicgen_sources
from serve_app.checkpoints.checkpoint import Checkpoint, load_checkpoint
from serve_app.checkpoints.tensor_store import Source, TensorStore, Third


def write(source: str, folder: Path) -> Path:
    """Write the checkpoint at `source` into `folder`; returns where its text encoder is."""
    checkpoint = load_checkpoint(source)
    text_encoder = folder / "text_encoder"
    checkpoint.text_encoder.t5.save_pretrained(text_encoder)  # type: ignore[operator]
    checkpoint.text_encoder.tokenizer.save_pretrained(text_encoder)
    lm = _tensors(
        checkpoint.musicgen.state_dict(),
        musicgen_sources(checkpoint.musicgen.config, TensorStore("", {})),
    )
    codec = _tensors(checkpoint.codec.state_dict(), encodec_sources(checkpoint.codec))
    for k, codebook in enumerate(
        checkpoint.codec.codebooks.chunk(checkpoint.codec.config.num_quantizers)
    ):
        prefix = f"quantizer.vq.layers.{k}._codebook."
        codec[prefix + "inited"], codec[prefix + "embed_avg"] = torch.ones(1), codebook.clone()
        codec[prefix + "cluster_size"] = torch.ones(len(codebook))
    for name, state, config in (
        ("state_dict.bin", lm, _lm_config(checkpoint, str(text_encoder))),
        ("compression_state_dict.bin", codec, _codec_config(checkpoint)),
    ):
        package = {
            "best_state": state,
            "xp.cfg": yaml.safe_dump(config),
            "version": "1.3.0",
            "exported": True,
        }
        torch.save(package, folder / name)
    return text_encoder


def _tensors(
    state: Mapping[str, Tensor], sources: Mapping[str, tuple[Source, ...]]
) -> dict[str, Tensor]:
    """This package's parameters -> AudioCraft's, `sources` read backwards."""
    tensors: dict[str, Tensor] = {}
    thirds: dict[str, list[tuple[int, Tensor]]] = {}
    for name, parameter in state.items():
        for source, part in zip(sources[name], parameter.chunk(len(sources[name])), strict=True):
            if isinstance(source, Third):
                thirds.setdefault(source.name, []).append((source.start, part))
            else:
                tensors[source] = part.clone()
    for name, parts in thirds.items():
        tensors[name] = torch.cat([part for _, part in sorted(parts, key=lambda pair: pair[0])])
    return tensors


def _lm_config(checkpoint: Checkpoint, text_encoder: str) -> dict[str, Any]:
    config = checkpoint.musicgen.config
    net = config.transformer
    return {
        "sample_rate": checkpoint.sample_rate, "channels": 1, "device": "cpu", "dtype": "float32",
        "lm_model": "transformer_lm",
        "transformer_lm": {
            "n_q": config.num_codebooks, "card": config.codebook_size, "dim": net.hidden_size,
            "num_heads": net.num_heads, "num_layers": net.num_layers, "hidden_scale": net.ffn_dim / net.hidden_size,
            "norm_first": True, "causal": True, "activation": "gelu", "bias_proj": config.bias_heads,
            "bias_ff": net.bias_ffn, "bias_attn": net.bias_attention, "dropout": 0.0, "norm": "layer_norm",
            "memory_efficient": True, "positional_embedding": "sin", "layer_scale": None, "emb_lr": None,
            "two_step_cfg": False,
        },
        "codebooks_pattern": {"modeling": "delay",
                              "delay": {"delays": list(config.delays), "flatten_first": 0, "empty_initial": 0}},
        "conditioners": {"args": {}, "description": {
            "model": "t5", "t5": {"name": text_encoder, "finetune": False, "word_dropout": 0.0}}},
        "fuser": {"cross_attention_pos_emb": False, "cross_attention_pos_emb_scale": 1, "sum": [], "prepend": [],
                  "cross": ["description"], "input_interpolate": []},
        "classifier_free_guidance": {"training_dropout": 0.0, "inference_coef": 3.0}, "attribute_dropout": {},
        "interleave_stereo_codebooks": {"use": False, "per_timestep": False},
        "dataset": {"segment_duration": config.max_duration_s},
    }  # fmt: skip


def _codec_config(checkpoint: Checkpoint) -> dict[str, Any]:
    config = checkpoint.codec.config
    return {
        "sample_rate": config.sample_rate, "channels": config.channels, "device": "cpu",
        "compression_model": "encodec",
        "encodec": {"autoencoder": "seanet", "quantizer": "rvq", "sample_rate": config.sample_rate,
                    "channels": config.channels, "causal": config.causal, "renormalize": False},
        "seanet": {"dimension": config.codebook_dim, "channels": config.channels, "causal": config.causal,
                   "n_filters": config.num_filters, "n_residual_layers": config.num_residual_layers,
                   "ratios": list(config.upsampling_ratios), "activation": "ELU", "activation_params": {"alpha": 1.0},
                   "norm": "none", "norm_params": {}, "kernel_size": config.kernel_size,
                   "residual_kernel_size": config.residual_kernel_size, "last_kernel_size": config.last_kernel_size,
                   "dilation_base": config.dilation_growth_rate, "pad_mode": config.pad_mode,
                   "true_skip": not config.conv_shortcut, "compress": config.compress,
                   "lstm": config.num_lstm_layers, "disable_norm_outer_blocks": 0,
                   "decoder": {"trim_right_ratio": config.trim_right_ratio, "final_activation": None,
                               "final_activation_params": None}, "encoder": {}},
        "rvq": {"n_q": config.num_quantizers, "q_dropout": False, "bins": config.codebook_size, "decay": 0.99,
                "kmeans_init": True},
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tools.nano.audiocraft",
        description="Write a checkpoint in AudioCraft's export format.",
    )
    parser.add_argument("checkpoint", help="a folder, or embedded:musicgen-nano")
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    text_encoder = write(arguments.checkpoint, folder)
    width = load_checkpoint(arguments.checkpoint).text_encoder.hidden_size
    print(f"{folder}: ready. Its text encoder is {text_encoder}, {width} wide")


if __name__ == "__main__":
    main()
