"""Random LoRA adapters, written by PEFT."""

from pathlib import Path
from typing import Any

import torch

from tests.untraced import untraced

# As in ylacombe/musicgen-dreamboothing, whose adapters most people train.
MODULES = [
    *("enc_to_dec_proj", "q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"),
    *(f"lm_heads.{k}" for k in range(4)),
    *(f"embed_tokens.{k}" for k in range(4)),
]


@untraced
def write_adapters(base: Path, folder: Path, *options: dict[str, Any]) -> tuple[Path, list[Path]]:
    """Write random adapters, and their base with all of them merged; options: of each `LoraConfig`."""
    from peft import LoraConfig, get_peft_model
    from transformers import MusicgenForConditionalGeneration

    torch.manual_seed(2)
    model = MusicgenForConditionalGeneration.from_pretrained(base)
    names = [f"adapter {index}" for index in range(len(options))]
    defaults: dict[str, Any] = {"r": 4, "target_modules": MODULES, "init_lora_weights": False}
    configs = [LoraConfig(**(defaults | one)) for one in options]
    peft: Any = get_peft_model(model, configs[0], names[0])
    for name, config in zip(names[1:], configs[1:], strict=True):
        peft.add_adapter(name, config)
    peft.save_pretrained(str(folder))
    merged = peft.merge_and_unload(adapter_names=names)
    merged.save_pretrained(folder / "merged")
    for file in base.glob("*token*"):
        (folder / "merged" / file.name).write_bytes(file.read_bytes())
    return folder / "merged", [folder / name for name in names]


def write_adapter(base: Path, folder: Path) -> Path:
    """Write one random adapter into `folder`."""
    _, [adapter] = write_adapters(base, folder.with_name(f"{folder.name} of PEFT"), {})
    adapter.rename(folder)
    return folder
