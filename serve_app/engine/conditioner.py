"""Prompt -> the keys and values of cross-attention, in two parts.

The text encoder runs in a thread of its own, while a request waits and others' steps go on. The projections to keys and
values, which are large, are made when the request has a slot.
"""

import asyncio
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter

import torch

from serve_app.engine.cuda_streams import Handover, use_own_stream
from serve_app.errors import PromptTooLong
from serve_app.models.musicgen.model import MusicGen
from serve_app.models.musicgen.transformer import CrossAttentionKV
from serve_app.models.t5 import TextEncoder


class Conditioner:
    """Encodes prompts for one model, and keeps the latest for callers that come back."""

    def __init__(
        self, text_encoder: TextEncoder, musicgen: MusicGen, max_tokens: int, cache_size: int
    ) -> None:
        self.max_tokens, self._cache_size = max_tokens, cache_size
        self._text_encoder, self._musicgen = text_encoder, musicgen
        self._dtype = musicgen.embedding.weight.dtype
        self._cache: OrderedDict[tuple[int, ...], Handover] = OrderedDict()
        self._thread = ThreadPoolExecutor(
            1, "musicgen-text", self._prepare_thread, (musicgen.embedding.weight.device,)
        )
        self.text_encoder_s = 0.0

    def tokenize(self, prompt: str) -> list[int]:
        """Raises PromptTooLong beyond `max_tokens`: no part of a prompt is ever dropped."""
        tokens = self._text_encoder.tokenize(prompt) if prompt else []
        if len(tokens) > self.max_tokens:
            raise PromptTooLong(
                f"The prompt is {len(tokens)} tokens long, but this model takes {self.max_tokens}. Shorten the prompt."
            )
        return tokens

    async def encode(self, tokens: list[int]) -> Handover:
        """tokens -> what `project` takes: the text encoder's hidden states."""
        return await asyncio.get_running_loop().run_in_executor(
            self._thread, self.encode_here, tokens
        )

    @torch.inference_mode()
    def encode_here(self, tokens: list[int]) -> Handover:
        """As `encode`, in the caller's thread. Not while another encodes."""
        key = tuple(tokens)
        if (text := self._cache.pop(key, None)) is None:
            started_at = perf_counter()
            text = Handover(self._text_encoder(tokens) if tokens else torch.zeros(0))
            self.text_encoder_s += perf_counter() - started_at
        self._cache[key] = text
        while len(self._cache) > self._cache_size:
            self._cache.popitem(last=False)
        return text

    @torch.inference_mode()
    def project(self, text: Handover) -> CrossAttentionKV:
        """Keys and values [num_layers, num_heads, tokens, head_dim]. No tokens are no text at all."""
        hidden_states = text.take()
        if not len(hidden_states):
            return self._musicgen.project_no_text()
        return self._musicgen.project_text(hidden_states.to(self._dtype))

    def shutdown(self) -> None:
        self._thread.shutdown()

    @staticmethod
    def _prepare_thread(device: torch.device) -> None:
        torch.set_num_threads(1)
        use_own_stream(device)
