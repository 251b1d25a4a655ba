"""Trains the embedded model's language model and text encoder on codes of pieces with prompts.

    python -m tools.nano.language_model FOLDER [--pieces N] [--steps N]

FOLDER/encodec is the trained codec. The pieces' codes are made once, into FOLDER/codes; training resumes from
FOLDER/lm.pt, saves there as it goes, draws FOLDER/lm.png, and at the end writes FOLDER/musicgen-nano, the whole model
in the Hugging Face format. As MusicGen's own training does, it drops the prompt of some pieces, for guidance.
"""

import argparse
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from tools.make_nano import make_tokenizer, save
from tools.nano.composer import render
from tools.nano.curves import draw
from tools.nano.prompts import random_piece

PIECE_S, FRAME_RATE, NUM_CODEBOOKS = 30.0, 50, 4
PROMPT_DROPOUT = 0.2
TOKENS_PER_BATCH = 6000  # frames of all pieces of a batch
LENGTHS_S = (6.0, 10.0, 20.0, 30.0)
LOG_EVERY, SAVE_EVERY = 50, 250  # steps
BLOCK = 100  # pieces
SIZE: dict[str, int] = {"hidden_size": 160, "num_hidden_layers": 6, "num_attention_heads": 5, "ffn_dim": 640}
TEXT_SIZE: dict[str, int] = {"d_model": 96, "d_kv": 32, "d_ff": 192, "num_layers": 2, "num_heads": 3}


def make_codes(folder: Path, pieces: int) -> NDArray[np.int16]:
    """The codes [pieces, K, frames] of the first `pieces` pieces, made in blocks; those that are there are kept."""
    from transformers import EncodecModel

    encodec = EncodecModel.from_pretrained(folder / "encodec").eval()
    blocks = []
    (folder / "codes").mkdir(exist_ok=True)
    for block in tqdm(range(math.ceil(pieces / BLOCK)), desc="codes"):
        file = folder / "codes" / f"{block:04d}.npy"
        if not file.exists():
            np.save(file, np.stack([_encode(encodec, seed) for seed in range(block * BLOCK, (block + 1) * BLOCK)]))
        blocks.append(np.load(file))
    return np.concatenate(blocks)[:pieces]


def _encode(encodec: Any, seed: int) -> NDArray[np.int16]:
    """The codes [K, frames] of one piece."""
    samples = torch.from_numpy(render(random_piece(seed)[0], PIECE_S))
    with torch.no_grad():
        codes = encodec.encode(samples[None, None]).audio_codes[0, 0]
    return np.asarray(codes, np.int16)


def build(folder: Path) -> Any:
    """The whole model, untrained but for its codec."""
    from transformers import (
        EncodecModel,
        MusicgenDecoderConfig,
        MusicgenForCausalLM,
        MusicgenForConditionalGeneration,
        T5Config,
        T5EncoderModel,
    )

    encodec = EncodecModel.from_pretrained(folder / "encodec")
    special = encodec.config.codebook_size
    decoder = MusicgenDecoderConfig(
        vocab_size=special, num_codebooks=NUM_CODEBOOKS, pad_token_id=special, bos_token_id=special, dropout=0.0, **SIZE
    )
    t5 = T5EncoderModel(T5Config(vocab_size=len(make_tokenizer()), dropout_rate=0.0, **TEXT_SIZE))
    return MusicgenForConditionalGeneration(
        text_encoder=t5, audio_encoder=encodec, decoder=MusicgenForCausalLM(decoder)
    )


def delayed(codes: Tensor, special: int) -> Tensor:
    """codes [B, K, T] -> the sequence [B, K, T + K] that the model sees, special tokens where there is no code."""
    batch, num_codebooks, frames = codes.shape
    sequence = torch.full((batch, num_codebooks, frames + num_codebooks), special)
    for k in range(num_codebooks):
        sequence[:, k, k + 1 : k + 1 + frames] = codes[:, k]
    return sequence


def loss_of(model: Any, tokens: dict[str, Tensor], codes: Tensor, keep: Tensor) -> Tensor:
    """Mean cross-entropy of the next codes. tokens: the prompts'; codes [B, K, T]; keep [B]: 0 drops the prompt."""
    special = model.config.decoder.pad_token_id
    mask = tokens["attention_mask"]
    hidden = model.enc_to_dec_proj(model.text_encoder(**tokens).last_hidden_state)
    hidden = hidden * mask[..., None] * keep[:, None, None]
    sequence = delayed(codes, special)
    inputs, targets = sequence[..., :-1], sequence[..., 1:]
    logits = model.decoder(
        input_ids=inputs.flatten(0, 1), encoder_hidden_states=hidden, encoder_attention_mask=mask, use_cache=False
    ).logits
    targets = targets.flatten(0, 1)
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=special)


def train(folder: Path, pieces: int, steps: int) -> None:
    codes = make_codes(folder, pieces)
    torch.manual_seed(0)
    tokenizer, model = make_tokenizer(), build(folder)
    model.audio_encoder.requires_grad_(False)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1)
    file, history, first = folder / "lm.pt", list[tuple[int, float]](), 0
    if file.exists():
        saved = torch.load(file, weights_only=True)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        history, first = saved["history"], saved["step"]
    recent: list[float] = []
    progress = tqdm(range(first, steps), initial=first, total=steps, desc="lm")
    for step in progress:
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * min(1.0, (step + 1) / 200) * (0.52 + 0.48 * math.cos(math.pi * step / steps))
        tokens, batch, keep = _batch(codes, tokenizer, step)
        loss = loss_of(model, tokens, batch, keep)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        recent.append(float(loss.detach()))
        if (step + 1) % LOG_EVERY == 0:
            history.append((step + 1, float(np.mean(recent))))
            recent.clear()
            progress.set_postfix(loss=f"{history[-1][1]:.3f}")
        if (step + 1) % SAVE_EVERY == 0 or step + 1 == steps:
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "history": history}
            torch.save(state | {"step": step + 1}, file.with_suffix(".tmp"))
            file.with_suffix(".tmp").replace(file)
            if history:
                draw(history, ("cross-entropy (nats)",), "musicgen-nano: language model", folder / "lm.png")
    save(model, tokenizer, folder / "musicgen-nano")


def _batch(codes: NDArray[np.int16], tokenizer: Any, step: int) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """The batch of a step: beginnings of pieces, all of one length, so many that batches cost alike."""
    rng = np.random.default_rng([step, 5])
    frames = int(LENGTHS_S[rng.integers(len(LENGTHS_S))] * FRAME_RATE)
    seeds = rng.integers(0, len(codes), max(1, TOKENS_PER_BATCH // frames))
    tokens = tokenizer([random_piece(int(seed))[1] for seed in seeds], padding=True, return_tensors="pt")
    keep = torch.from_numpy((rng.random(len(seeds)) >= PROMPT_DROPOUT).astype(np.float32))
    return dict(tokens), torch.from_numpy(codes[seeds, :, :frames].astype(np.int64)), keep


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tools.nano.language_model")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pieces", type=int, default=4000)
    parser.add_argument("--steps", type=int, default=6000)
    arguments = parser.parse_args()
    train(arguments.folder, arguments.pieces, arguments.steps)
