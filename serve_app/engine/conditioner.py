"""Prompt -> conditions, in two parts.

The text encoder runs in its own thread while the request waits, so that running sequences go on.
The projection to the model's conditions, which are large, is computed once the request has a slot.
"""

from collections import OrderedDict
from time import perf_counter

import torch
from torch import Tensor

from serve_app.engine.cuda_streams import Handover
from serve_app.engine.worker_thread import OnFailure, WorkerThread, report_to_nobody
from serve_app.errors import PromptTooLong
from serve_app.models.musicgen.conditioning import Conditions
from serve_app.models.musicgen.model import MusicGen
from serve_app.models.t5 import TextEncoder


class Conditioner:
    """Encodes prompts for models of one shape and caches the latest ones.

    max_tokens: of a prompt; cache_size: cached prompts; on_failure: see WorkerThread.
    """

    def __init__(
        self,
        text_encoder: TextEncoder,
        musicgen: MusicGen,
        max_tokens: int,
        cache_size: int,
        on_failure: OnFailure = report_to_nobody,
    ) -> None:
        self.max_tokens = max_tokens
        self.text_encoder_s = 0.0
        self._cache_size = cache_size
        self._text_encoder = text_encoder
        self._musicgen = musicgen
        self._cache: OrderedDict[tuple[int, ...], Handover] = OrderedDict()
        device = musicgen.embedding.weight.device
        self._thread = WorkerThread("musicgen-text", device, on_failure)

    def tokenize(self, prompt: str) -> list[int]:
        """Return the prompt's tokens.

        Raises PromptTooLong beyond `max_tokens`: no prompt is truncated.
        """
        tokens = self._text_encoder.tokenize(prompt) if prompt else []
        if len(tokens) > self.max_tokens:
            raise PromptTooLong(
                f"The prompt is {len(tokens)} tokens long, but this model takes "
                f"{self.max_tokens}. Shorten the prompt."
            )
        return tokens

    async def encode(self, tokens: list[int]) -> Handover:
        """Encode in the conditioner's thread: tokens -> states [tokens, text_hidden_size]."""
        return await self._thread.run(self.encode_here, tokens)

    def encode_blocking(self, tokens: list[int]) -> Handover:
        """Encode in the conditioner's thread, and wait for it."""
        return self._thread.submit(self.encode_here, tokens).result()

    @torch.inference_mode()
    def encode_here(self, tokens: list[int]) -> Handover:
        """Encode in the calling thread, while no other thread encodes."""
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
    def condition(
        self, text: Handover, melody: Tensor | None = None, musicgen: MusicGen | None = None
    ) -> Conditions:
        """Project hidden states and a melody to a model's conditions.

        No hidden states are the empty prompt. melody [chroma_length]: pitch classes; None: no
        melody. musicgen: of the same shape as the conditioner's own, which is the default.
        """
        musicgen = musicgen or self._musicgen
        hidden_states = text.take()
        leading = None if musicgen.config.melody is None else musicgen.leading(melody)
        conditions = musicgen.conditions(hidden_states if len(hidden_states) else None, leading)
        return conditions._replace(melody=melody is not None)

    def shutdown(self) -> None:
        self._thread.shutdown()
