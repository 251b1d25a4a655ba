"""Logits and loss of a MusicGen's next codes."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

# Loss weights of the codebooks: the first determines the sound, the last are partly noise.
WEIGHTS = (2.0, 1.0, 0.5, 0.5)


def delayed(codes: Tensor, special: int) -> Tensor:
    """Apply the delay pattern: codes [B, K, T] -> [B, K, T + K].

    Special tokens fill up the sequence, and stand for codes of -1.
    """
    batch, num_codebooks, frames = codes.shape
    sequence = torch.full(
        (batch, num_codebooks, frames + num_codebooks), special, device=codes.device
    )
    for k in range(num_codebooks):
        sequence[:, k, k + 1 : k + 1 + frames] = codes[:, k]
    return torch.where(sequence < 0, special, sequence)


def loss_of(
    model: Any, tokens: dict[str, Tensor], codes: Tensor, keep: Tensor, inputs: Tensor | None = None
) -> Tensor:
    """Mean cross-entropy of predicting `codes` from `inputs` (default: `codes`), by WEIGHTS.

    Other arguments as in `logits_of`.
    """
    special = model.config.decoder.pad_token_id
    targets = delayed(codes, special)[..., 1:]
    logits = logits_of(model, tokens, codes if inputs is None else inputs, keep)
    losses = F.cross_entropy(
        logits.flatten(0, 2), targets.flatten(), ignore_index=special, reduction="none"
    )
    by_codebook = [WEIGHTS[min(k, len(WEIGHTS) - 1)] for k in range(codes.shape[1])]
    weights = torch.tensor(by_codebook, device=codes.device)[:, None] * (targets != special)
    loss: Tensor = (losses.view_as(targets) * weights).sum() / weights.sum()
    return loss


def logits_of(model: Any, tokens: dict[str, Tensor], codes: Tensor, keep: Tensor) -> Tensor:
    """Logits of the next codes: [B, K, T + K - 1, codebook_size]

    tokens: the prompts; codes: [B, K, T]; keep: [B], 0 drops the prompt.
    """
    mask = tokens["attention_mask"]
    hidden = model.text_encoder(**tokens).last_hidden_state
    if hasattr(model, "enc_to_dec_proj"):
        hidden = model.enc_to_dec_proj(hidden)
    hidden = hidden * mask[..., None] * keep[:, None, None]
    inputs = delayed(codes, model.config.decoder.pad_token_id)[..., :-1]
    logits: Tensor = model.decoder(
        input_ids=inputs.flatten(0, 1),
        encoder_hidden_states=hidden,
        encoder_attention_mask=mask,
        use_cache=False,
    ).logits
    return logits.view(*inputs.shape[:2], *logits.shape[1:])
