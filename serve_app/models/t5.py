"""Text encoder: T5 (arXiv:1910.10683) with its tokenizer, from `transformers`."""

from typing import Any, cast

import torch
from torch import Tensor, nn


class TextEncoder(nn.Module):
    """T5's encoder behind its tokenizer: a prompt to hidden states."""

    def __init__(self, t5: nn.Module, tokenizer: Any, hidden_size: int) -> None:
        super().__init__()
        self.t5 = t5
        self.tokenizer = tokenizer
        self.hidden_size = hidden_size

    def tokenize(self, prompt: str) -> list[int]:
        """Token ids of the prompt, with the end-of-sequence token."""
        return cast(list[int], self.tokenizer(prompt)["input_ids"])

    def forward(self, tokens: list[int]) -> Tensor:
        """tokens -> hidden states [len(tokens), hidden_size], on the encoder's device"""
        device = next(self.t5.parameters()).device
        input_ids = torch.tensor([tokens], device=device)
        return cast(Tensor, self.t5(input_ids=input_ids).last_hidden_state[0])
