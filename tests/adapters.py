"""Random LoRA adapters, written by PEFT or, quicker, in its form."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from tests.untraced import untraced

_LAYERS = ("enc_to_dec_proj", "q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")


def _read(base: Path) -> Any:
    from transformers import (
        AutoConfig,
        MusicgenForConditionalGeneration,
        MusicgenMelodyForConditionalGeneration,
    )

    is_melody = AutoConfig.from_pretrained(base).model_type == "musicgen_melody"
    kind: Any = (
        MusicgenMelodyForConditionalGeneration if is_melody else MusicgenForConditionalGeneration
    )
    return kind.from_pretrained(base)


def _modules(model: Any) -> list[str]:
    """Modules to adapt, as in ylacombe/musicgen-dreamboothing, whose adapters most people train."""
    codebooks = range(model.config.decoder.num_codebooks)
    numbered = [f"{table}.{k}" for table in ("lm_heads", "embed_tokens") for k in codebooks]
    melody = ["audio_enc_to_dec_proj"] if hasattr(model, "audio_enc_to_dec_proj") else []
    return [*_LAYERS, *melody, *numbered]


@untraced
def write_adapters(base: Path, folder: Path, *options: dict[str, Any]) -> tuple[Path, list[Path]]:
    """Write random adapters, and their base with all of them merged; options: of each `LoraConfig`."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(2)
    model = _read(base)
    names = [f"adapter {index}" for index in range(len(options))]
    defaults: dict[str, Any] = {
        "r": 4,
        "target_modules": _modules(model),
        "init_lora_weights": False,
    }
    configs = [LoraConfig(**(defaults | one)) for one in options]
    peft: Any = get_peft_model(model, configs[0], names[0])
    for name, config in zip(names[1:], configs[1:], strict=True):
        peft.add_adapter(name, config)
    peft.save_pretrained(str(folder))
    merged = peft.merge_and_unload(adapter_names=names)
    merged.save_pretrained(folder / "merged")
    for file in (*base.glob("*token*"), *base.glob("preprocessor_config.json")):
        (folder / "merged" / file.name).write_bytes(file.read_bytes())
    return folder / "merged", [folder / name for name in names]


def write_adapter(base: Path, folder: Path) -> Path:
    """Write one random adapter into `folder`."""
    _, [adapter] = write_adapters(base, folder.with_name(f"{folder.name} of PEFT"), {})
    adapter.rename(folder)
    return folder


def write_plain_adapter(folder: Path, seed: int, width: int, layers: int = 4) -> Path:
    """Write a random adapter of the query projections in PEFT's form; width: of the model."""
    generator = torch.Generator().manual_seed(seed)
    place = "base_model.model.decoder.model.decoder.layers.{}.self_attn.q_proj.lora_{}.weight"
    shapes = {"A": (4, width), "B": (width, 4)}
    factors = {
        place.format(layer, side): torch.randn(shape, generator=generator)
        for layer in range(layers)
        for side, shape in shapes.items()
    }
    folder.mkdir(parents=True)
    save_file(factors, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 4, "target_modules": ["q_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder
