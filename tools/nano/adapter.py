"""A LoRA adapter (arXiv:2106.09685) to train in place of a language model's weights, by PEFT."""

from typing import Any

_LAYERS = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")


def add_adapter(model: Any, rank: int) -> Any:
    """Freeze the model and add an adapter to its language model, in place.

    Returns PEFT's wrapper of the model, whose `save_pretrained` writes the adapter alone.
    """
    from peft import LoraConfig, get_peft_model

    codebooks = range(model.config.decoder.num_codebooks)
    modules = [
        *("enc_to_dec_proj", *_LAYERS),
        *(f"{table}.{k}" for table in ("embed_tokens", "lm_heads") for k in codebooks),
    ]
    return get_peft_model(model, LoraConfig(r=rank, lora_alpha=rank, target_modules=modules))
