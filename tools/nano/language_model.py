"""Trains a MusicGen's language model on codes of music with prompts.

    python -m tools.nano.language_model FOLDER [--steps N]               the embedded model's, from scratch
    python -m tools.nano.language_model FOLDER --checkpoint CHECKPOINT   goes on from another

FOLDER/codes is what it learns from (python -m tools.nano.codes); where there is no checkpoint, the codec and the text
encoder are those in FOLDER/encodec and FOLDER/text_encoder.
It resumes from FOLDER/lm.pt, saves there as it goes, draws FOLDER/lm.png, and at the end writes FOLDER/checkpoint, the
whole model in the Hugging Face format. As MusicGen's own training does (arXiv:2306.05284, section 3), it drops the
prompt of some pieces, for guidance.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tools.nano import codes as codes_file
from tools.nano.codes import Codes, Piece
from tools.nano.huggingface import save
from tools.nano.training import Training, cosine

FRAME_RATE, NUM_CODEBOOKS = 50, 4
PROMPT_DROPOUT = 0.15
FRAMES_PER_BATCH = 2400  # of all pieces of a batch
LENGTHS_S = (1.0, 2.0, 4.0, 10.0, 30.0)
# At first mostly beginnings: what the prompt says is news there. Then rhythm and harmony, which take longer to hear.
EARLY, EARLY_SHARES, LATE_SHARES = 0.3, (0.35, 0.3, 0.15, 0.1, 0.1), (0.05, 0.2, 0.2, 0.3, 0.25)
# What is heard is wrong here and there, so that one mistake in what it makes does not lead to the next: a frame of any
# piece; and, in every piece to its own degree, notes of another that sounds like it.
WRONG_FRAMES, MOST_WRONG_NOTES = 0.04, 0.4  # shares
NOTE_FRAMES = (4, 32)  # shortest, longest
CANDIDATES = 24  # pieces among which another is looked for that sounds alike
WEIGHTS = (
    2.0,
    1.0,
    0.5,
    0.5,
)  # of the codebooks: the first says what sounds, the last are half chance
HELD_OUT_S = 1.0
HELD_OUT = 32  # pieces, the last, that are only listened to
LEARNING_RATE, WARM_UP = 1.5e-3, 100  # steps
EMBEDDING_STD = 0.25  # of each codebook's; their sum is then as large as positions are
COLUMNS = ("cross-entropy", "held out", "without prompt")  # nats
SIZE: dict[str, int] = {
    "hidden_size": 160,
    "num_hidden_layers": 4,
    "num_attention_heads": 5,
    "ffn_dim": 640,
}


def build(folder: Path) -> tuple[Any, Any]:
    """The embedded model, of which the decoder is untrained, and its tokenizer."""
    from transformers import (
        AutoTokenizer,
        EncodecModel,
        MusicgenDecoderConfig,
        MusicgenForCausalLM,
        MusicgenForConditionalGeneration,
        T5EncoderModel,
    )

    encodec = EncodecModel.from_pretrained(folder / "encodec")
    special = encodec.config.codebook_size
    decoder = MusicgenDecoderConfig(
        vocab_size=special,
        num_codebooks=NUM_CODEBOOKS,
        pad_token_id=special,
        bos_token_id=special,
        dropout=0.0,
        **SIZE,
    )
    model = MusicgenForConditionalGeneration(
        text_encoder=T5EncoderModel.from_pretrained(folder / "text_encoder"),
        audio_encoder=encodec,
        decoder=MusicgenForCausalLM(decoder),
    )
    model.decoder.set_attn_implementation(
        "sdpa"
    )  # a model put together so has none, and would see the future
    _initialize(model)
    return _decoder_alone(model), AutoTokenizer.from_pretrained(folder / "text_encoder")


def _initialize(model: Any) -> None:
    """By each layer's width. The fixed 0.02 of large models leaves one this narrow deaf to its prompt."""
    layers = model.decoder.model.decoder.layers
    for module in [*model.decoder.modules(), model.enc_to_dec_proj]:
        if isinstance(module, torch.nn.Linear):
            torch.nn.init.normal_(module.weight, std=module.in_features**-0.5)
    for layer in layers:
        for last in (layer.self_attn.out_proj, layer.encoder_attn.out_proj, layer.fc2):
            last.weight.data /= (3 * len(layers)) ** 0.5
    for embedding in model.decoder.model.decoder.embed_tokens:
        torch.nn.init.normal_(embedding.weight, std=EMBEDDING_STD)


def read(checkpoint: Path) -> tuple[Any, Any]:
    """A checkpoint's model and tokenizer."""
    from transformers import AutoTokenizer, MusicgenForConditionalGeneration

    model = MusicgenForConditionalGeneration.from_pretrained(checkpoint).float()
    if model.config.decoder.audio_channels != 1:
        raise SystemExit(f"{checkpoint} is stereo; only mono models can be trained here")
    return _decoder_alone(model), AutoTokenizer.from_pretrained(checkpoint)


def _decoder_alone(model: Any) -> Any:
    """The model, to be trained as MusicGen was: its codec and its text encoder stay what they are."""
    model.audio_encoder.requires_grad_(False)
    model.text_encoder.requires_grad_(False)
    return model


def delayed(codes: Tensor, special: int) -> Tensor:
    """codes [B, K, T] -> the sequence [B, K, T + K] that the model sees, special tokens where there is no code."""
    batch, num_codebooks, frames = codes.shape
    sequence = torch.full(
        (batch, num_codebooks, frames + num_codebooks), special, device=codes.device
    )
    for k in range(num_codebooks):
        sequence[:, k, k + 1 : k + 1 + frames] = codes[:, k]
    return sequence


def loss_of(
    model: Any, tokens: dict[str, Tensor], codes: Tensor, keep: Tensor, heard: Tensor | None = None
) -> Tensor:
    """Mean cross-entropy of the next codes, the codebooks weighted; the arguments are those of `logits_of`."""
    special = model.config.decoder.pad_token_id
    targets = delayed(codes, special)[..., 1:]
    logits = logits_of(model, tokens, codes if heard is None else heard, keep)
    losses = F.cross_entropy(
        logits.flatten(0, 2), targets.flatten(), ignore_index=special, reduction="none"
    )
    by_codebook = [WEIGHTS[min(k, len(WEIGHTS) - 1)] for k in range(codes.shape[1])]
    weights = torch.tensor(by_codebook, device=codes.device)[:, None] * (targets != special)
    loss: Tensor = (losses.view_as(targets) * weights).sum() / weights.sum()
    return loss


def misheard(codes: Tensor, others: Tensor, seed: Sequence[int]) -> Tensor:
    """codes [B, K, T], with notes of `others`, pieces that sound like them, and single frames of any piece of these."""
    rng, (batch, num_codebooks, frames) = np.random.default_rng(seed), codes.shape
    frame = np.arange(frames)
    starts = rng.random((batch, frames)) < rng.uniform(0, MOST_WRONG_NOTES, (batch, 1)) / np.mean(
        NOTE_FRAMES
    )
    ends = np.where(starts, frame + rng.integers(*NOTE_FRAMES, size=(batch, frames)), 0)
    notes = torch.from_numpy(np.maximum.accumulate(ends, axis=1) > frame).to(codes.device)
    single = torch.from_numpy(rng.random((batch, frames)) < WRONG_FRAMES).to(codes.device)
    where = torch.from_numpy(rng.integers(batch * frames, size=(batch, frames))).to(codes.device)
    elsewhere = codes.movedim(1, 2).reshape(-1, num_codebooks)[where].movedim(2, 1)
    heard = torch.where(notes[:, None], others, codes)
    return torch.where(single[:, None], elsewhere, heard)


def logits_of(model: Any, tokens: dict[str, Tensor], codes: Tensor, keep: Tensor) -> Tensor:
    """The next codes' logits [B, K, T + K - 1, codebook_size].

    tokens: the prompts'; codes [B, K, T]; keep [B]: 0 drops the prompt.
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


def train(
    folder: Path, steps: int, checkpoint: Path | None = None, learning_rate: float = LEARNING_RATE
) -> None:
    torch.manual_seed(0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    pieces = codes_file.load(folder)
    pieces, held_out = (
        (pieces[:-HELD_OUT], pieces[-HELD_OUT:]) if len(pieces) > 4 * HELD_OUT else (pieces, pieces)
    )
    model, tokenizer = build(folder) if checkpoint is None else read(checkpoint)
    model.to(device)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        parameters, lr=learning_rate, betas=(0.9, 0.95), weight_decay=0.05
    )
    training = Training(folder / "lm.pt", model, optimizer, COLUMNS)

    def update(step: int) -> tuple[float]:
        shares = EARLY_SHARES if step < EARLY * steps else LATE_SHARES
        (tokens, codes, keep), others = _batch(pieces, tokenizer, step, shares, device)
        loss = loss_of(model, tokens, codes, keep, heard=misheard(codes, others, [step, 8]))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        return (float(loss.detach()),)

    def evaluate() -> tuple[float, float]:
        tokens, codes, keep = _held_out(held_out, tokenizer, device)
        with torch.no_grad():
            return float(loss_of(model, tokens, codes, keep)), float(
                loss_of(model, tokens, codes, 0 * keep)
            )

    training.run(steps, lambda step: learning_rate * _schedule(step, steps), update, evaluate)
    save(model.cpu(), tokenizer, folder / "checkpoint")


def _schedule(step: int, steps: int) -> float:
    """Linear warm-up, then half a cosine, to 2 %."""
    return min(1.0, (step + 1) / WARM_UP) * (0.02 + 0.98 * cosine(step / steps))


Batch = tuple[dict[str, Tensor], Tensor, Tensor]


def _batch(
    pieces: Sequence[Piece],
    tokenizer: Any,
    step: int,
    shares: Sequence[float],
    device: torch.device,
) -> tuple[Batch, Tensor]:
    """A step's batch, beginnings of one length, so many that batches cost alike, and pieces that sound like them."""
    rng = np.random.default_rng([step, 5])
    longest = max(piece.codes.shape[-1] for piece in pieces)
    possible = np.array(
        [share * (s * FRAME_RATE <= longest) for s, share in zip(LENGTHS_S, shares, strict=True)]
    )
    frames = int(rng.choice(LENGTHS_S, p=possible / possible.sum()) * FRAME_RATE)
    long_enough = [i for i, piece in enumerate(pieces) if piece.codes.shape[-1] >= frames]
    chosen = [pieces[i] for i in rng.choice(long_enough, max(1, FRAMES_PER_BATCH // frames))]
    prompts = [piece.prompts[rng.integers(len(piece.prompts))] for piece in chosen]
    keep = torch.from_numpy((rng.random(len(chosen)) >= PROMPT_DROPOUT).astype(np.float32))
    batch = _tensors(
        tokenizer, prompts, [piece.codes[:, :frames] for piece in chosen], keep, device
    )
    alike = []
    for piece in chosen:
        candidates = (pieces[i] for i in rng.choice(long_enough, CANDIDATES))
        alike.append(next((other for other in candidates if other.sound == piece.sound), piece))
    return batch, _stacked([piece.codes[:, :frames] for piece in alike], device)


def _held_out(pieces: Sequence[Piece], tokenizer: Any, device: torch.device) -> Batch:
    frames = min(int(HELD_OUT_S * FRAME_RATE), *(piece.codes.shape[-1] for piece in pieces))
    codes = [piece.codes[:, :frames] for piece in pieces]
    return _tensors(
        tokenizer, [piece.prompts[0] for piece in pieces], codes, torch.ones(len(pieces)), device
    )


def _tensors(
    tokenizer: Any, prompts: list[str], codes: list[Codes], keep: Tensor, device: torch.device
) -> Batch:
    tokens = tokenizer(prompts, padding=True, return_tensors="pt").to(device)
    return dict(tokens), _stacked(codes, device), keep.to(device)


def _stacked(codes: list[Codes], device: torch.device) -> Tensor:
    return torch.from_numpy(np.stack(codes).astype(np.int64)).to(device)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tools.nano.language_model", description="Train a MusicGen's language model."
    )
    parser.add_argument("folder", type=Path, help="holds codes/, encodec/ and text_encoder/")
    parser.add_argument("--steps", type=int, default=20000, help="(default: 20000)")
    parser.add_argument(
        "--checkpoint", type=Path, help="a MusicGen in the Hugging Face format to go on from"
    )
    parser.add_argument(
        "--learning-rate", type=float, default=LEARNING_RATE, help="1e-4 or less with --checkpoint"
    )
    arguments = parser.parse_args()
    train(arguments.folder, arguments.steps, arguments.checkpoint, arguments.learning_rate)


if __name__ == "__main__":
    main()
