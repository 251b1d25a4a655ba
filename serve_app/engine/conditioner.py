"""Prompt -> the keys and values of cross-attention, computed once and kept for prompts that come back."""

from collections import OrderedDict

import torch

from serve_app.errors import PromptTooLong
from serve_app.models.musicgen import MusicGen
from serve_app.models.text_encoder import TextEncoder
from serve_app.models.transformer import TextMemory


class Conditioner:
    """Encodes prompts for one model; least recently used prompts leave the cache first."""

    def __init__(self, text_encoder: TextEncoder, musicgen: MusicGen, max_tokens: int, cache_size: int) -> None:
        self.max_tokens, self._cache_size = max_tokens, cache_size
        self._text_encoder, self._musicgen = text_encoder, musicgen
        self._dtype = musicgen.embedding.weight.dtype
        self._cache: OrderedDict[tuple[int, ...], TextMemory] = OrderedDict()

    def tokenize(self, prompt: str) -> list[int]:
        """Raises PromptTooLong beyond `max_tokens`: no part of a prompt is ever dropped."""
        tokens = self._text_encoder.tokenize(prompt) if prompt else []
        if len(tokens) > self.max_tokens:
            raise PromptTooLong(
                f"The prompt is {len(tokens)} tokens long, but this model takes {self.max_tokens}. Shorten the prompt."
            )
        return tokens

    @torch.inference_mode()
    def encode(self, tokens: list[int]) -> TextMemory:
        """tokens -> keys and values [num_layers, num_heads, tokens, head_dim]. No tokens are no text at all."""
        key = tuple(tokens)
        if (memory := self._cache.pop(key, None)) is None:
            memory = self._encode(tokens)
        self._cache[key] = memory
        while len(self._cache) > self._cache_size:
            self._cache.popitem(last=False)
        return memory

    def _encode(self, tokens: list[int]) -> TextMemory:
        if not tokens:
            return self._musicgen.project_no_text()
        return self._musicgen.project_text(self._text_encoder(tokens).to(self._dtype))
