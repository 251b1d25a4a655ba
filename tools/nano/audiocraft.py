"""Write a checkpoint in AudioCraft's export format, to be used with AudioCraft itself.

    python -m tools.nano.audiocraft CHECKPOINT FOLDER

CHECKPOINT is a mono MusicGen in the Hugging Face format. The command writes `state_dict.bin`,
`compression_state_dict.bin` and `text_encoder`, the checkpoint's own T5, into FOLDER. AudioCraft
accepts the published T5s only, so register this one first:

    from audiocraft.modules.conditioners import T5Conditioner
    T5Conditioner.MODELS.append("FOLDER/text_encoder")
    T5Conditioner.MODELS_DIMS["FOLDER/text_encoder"] = 96    # printed by this command
    model = audiocraft.models.MusicGen.get_pretrained("FOLDER")

Write prompts in lower case: AudioCraft's tokenizer does not lower them, unlike musicgen-nano's.
"""

import argparse
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from serve_app.checkpoints.audiocraft import encodec_sources, musicgen_sources
from serve_app.checkpoints.checkpoint import Checkpoint, load_checkpoint
from serve_app.checkpoints.tensor_store import Source, TensorStore, Third
from serve_app.models.t5 import T5Encoder


def write(source: str, folder: Path) -> Path:
    """Write the checkpoint at `source` into `folder`; return the path of its text encoder."""
    checkpoint = load_checkpoint(source)
    text_encoder = folder / "text_encoder"
    _save_t5(checkpoint.text_encoder.t5, text_encoder)
    checkpoint.text_encoder.tokenizer.save_pretrained(text_encoder)
    musicgen = checkpoint.musicgen
    lm = _tensors(musicgen.state_dict(), musicgen_sources(musicgen.config, TensorStore("", {})))
    _save(folder / "state_dict.bin", lm, _lm_config(checkpoint, str(text_encoder)))
    codec = _tensors(checkpoint.codec.state_dict(), encodec_sources(checkpoint.codec))
    codec |= _quantizer_state(checkpoint)
    _save(folder / "compression_state_dict.bin", codec, _codec_config(checkpoint))
    return text_encoder


def _save_t5(t5: T5Encoder, folder: Path) -> None:
    from transformers import T5Config, T5EncoderModel

    encoder = T5EncoderModel(T5Config(**asdict(t5.config)))
    encoder.load_state_dict(t5.state_dict(), strict=False)  # without the copy of the embedding
    encoder.save_pretrained(folder)


def _save(file: Path, state: dict[str, Tensor], config: dict[str, Any]) -> None:
    package = {
        "best_state": state,
        "xp.cfg": yaml.safe_dump(config),
        "version": "1.3.0",
        "exported": True,
    }
    torch.save(package, file)


def _quantizer_state(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """Buffers of AudioCraft's EMA codebooks, which inference does not use."""
    codec = checkpoint.codec
    state: dict[str, Tensor] = {}
    for k, codebook in enumerate(codec.codebooks.chunk(codec.config.num_quantizers)):
        prefix = f"quantizer.vq.layers.{k}._codebook."
        state[prefix + "inited"] = torch.ones(1)
        state[prefix + "embed_avg"] = codebook.clone()
        state[prefix + "cluster_size"] = torch.ones(len(codebook))
    return state


def _tensors(
    state: Mapping[str, Tensor], sources: Mapping[str, tuple[Source, ...]]
) -> dict[str, Tensor]:
    """Rename this package's parameters to AudioCraft's: the inverse of `sources`."""
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
    delays = {"delays": list(config.delays), "flatten_first": 0, "empty_initial": 0}
    t5 = {"name": text_encoder, "finetune": False, "word_dropout": 0.0}
    return {
        "sample_rate": checkpoint.sample_rate, "channels": 1, "device": "cpu", "dtype": "float32",
        "lm_model": "transformer_lm", "transformer_lm": _transformer_config(checkpoint),
        "codebooks_pattern": {"modeling": "delay", "delay": delays},
        "conditioners": {"args": {}, "description": {"model": "t5", "t5": t5}},
        "fuser": {
            "cross_attention_pos_emb": False, "cross_attention_pos_emb_scale": 1, "sum": [],
            "prepend": [], "cross": ["description"], "input_interpolate": [],
        },
        "classifier_free_guidance": {"training_dropout": 0.0, "inference_coef": 3.0},
        "attribute_dropout": {},
        "interleave_stereo_codebooks": {"use": False, "per_timestep": False},
        "dataset": {"segment_duration": config.max_duration_s},
    }  # fmt: skip


def _transformer_config(checkpoint: Checkpoint) -> dict[str, Any]:
    config = checkpoint.musicgen.config
    net = config.transformer
    return {
        "n_q": config.num_codebooks, "card": config.codebook_size, "dim": net.hidden_size,
        "num_heads": net.num_heads, "num_layers": net.num_layers,
        "hidden_scale": net.ffn_dim / net.hidden_size, "norm_first": True, "causal": True,
        "activation": "gelu", "bias_proj": config.bias_heads, "bias_ff": net.bias_ffn,
        "bias_attn": net.bias_attention, "dropout": 0.0, "norm": "layer_norm",
        "memory_efficient": True, "positional_embedding": "sin", "layer_scale": None,
        "emb_lr": None, "two_step_cfg": False,
    }  # fmt: skip


def _codec_config(checkpoint: Checkpoint) -> dict[str, Any]:
    config = checkpoint.codec.config
    return {
        "sample_rate": config.sample_rate, "channels": config.channels, "device": "cpu",
        "compression_model": "encodec",
        "encodec": {
            "autoencoder": "seanet", "quantizer": "rvq", "sample_rate": config.sample_rate,
            "channels": config.channels, "causal": config.causal, "renormalize": False,
        },
        "seanet": _seanet_config(checkpoint),
        "rvq": {
            "n_q": config.num_quantizers, "q_dropout": False, "bins": config.codebook_size,
            "decay": 0.99, "kmeans_init": True,
        },
    }  # fmt: skip


def _seanet_config(checkpoint: Checkpoint) -> dict[str, Any]:
    config = checkpoint.codec.config
    return {
        "dimension": config.codebook_dim, "channels": config.channels, "causal": config.causal,
        "n_filters": config.num_filters, "n_residual_layers": config.num_residual_layers,
        "ratios": list(config.upsampling_ratios), "activation": "ELU",
        "activation_params": {"alpha": 1.0}, "norm": "none", "norm_params": {},
        "kernel_size": config.kernel_size, "residual_kernel_size": config.residual_kernel_size,
        "last_kernel_size": config.last_kernel_size, "dilation_base": config.dilation_growth_rate,
        "pad_mode": config.pad_mode, "true_skip": not config.conv_shortcut,
        "compress": config.compress, "lstm": config.num_lstm_layers,
        "disable_norm_outer_blocks": 0,
        "decoder": {
            "trim_right_ratio": config.trim_right_ratio, "final_activation": None,
            "final_activation_params": None,
        },
        "encoder": {},
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tools.nano.audiocraft",
        description="Write a checkpoint in AudioCraft's export format.",
    )
    parser.add_argument("checkpoint", help="a folder, or embedded:musicgen-nano")
    parser.add_argument("folder", type=Path, help="where the export is written")
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    text_encoder = write(arguments.checkpoint, folder)
    width = load_checkpoint(arguments.checkpoint).text_encoder.hidden_size
    print(f"Wrote {folder}. Its text encoder is {text_encoder}, width {width}")


if __name__ == "__main__":
    main()
