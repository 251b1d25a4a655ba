"""Trains the embedded model's text encoder: each word's state learns to tell what the whole prompt asks for.

    python -m tools.nano.text_encoder FOLDER [--steps N]

MusicGen's own T5 knew text before its language model was trained, and was kept as it was; so is this one. It resumes
from FOLDER/text.pt, saves there as it goes, draws FOLDER/text.png, its loss curve, and at the end writes
FOLDER/text_encoder, a T5 encoder in the Hugging Face format with its tokenizer.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tools.nano.codes import PIECES, prompts_of
from tools.nano.composer import BEATS, GROOVES, LEADS, SCALES, TONICS, Score
from tools.nano.prompts import random_piece
from tools.nano.tokenizer import make_tokenizer
from tools.nano.training import Training, cosine

SIZE: dict[str, int] = {"d_model": 96, "d_kv": 32, "d_ff": 192, "num_layers": 2, "num_heads": 3}
BATCH = 128  # prompts
LEARNING_RATE, WARM_UP = 3e-3, 50  # steps
ENERGIES = range(3)
# What a prompt may say, each with its possible values.
ASPECTS: dict[str, Sequence[Any]] = {
    "beat": BEATS, "tonic": list(TONICS), "mode": list(SCALES), "lead": LEADS, "groove": GROOVES, "energy": ENERGIES,
}  # fmt: skip


class Listener(nn.Module):
    """A T5 encoder that says of every token's state what the prompt asks for."""

    def __init__(self, vocabulary: int) -> None:
        from transformers import T5Config, T5EncoderModel

        super().__init__()
        self.encoder: Any = T5EncoderModel(
            T5Config(vocab_size=vocabulary, dropout_rate=0.0, **SIZE)
        )
        self.heads = nn.ModuleList(
            nn.Linear(SIZE["d_model"], len(values)) for values in ASPECTS.values()
        )

    def forward(self, tokens: dict[str, Tensor], wanted: Tensor) -> tuple[Tensor, Tensor]:
        """tokens: the prompts' [B, L]; wanted [B, aspects] -> the loss, in nats a prompt; how often each is right"""
        states = self.encoder(**tokens).last_hidden_state[tokens["attention_mask"].bool()]
        wanted = wanted.repeat_interleave(tokens["attention_mask"].sum(1), dim=0)
        logits = [head(states) for head in self.heads]
        loss = torch.stack(
            [F.cross_entropy(one, wanted[:, i]) for i, one in enumerate(logits)]
        ).sum()
        return loss, torch.stack(
            [(one.argmax(-1) == wanted[:, i]).float().mean() for i, one in enumerate(logits)]
        )


def wanted_of(score: Score) -> list[int]:
    """The number of each aspect's value."""
    return [values.index(getattr(score, aspect)) for aspect, values in ASPECTS.items()]


def train(folder: Path, steps: int, pieces: int = PIECES) -> None:
    """On the prompts of the pieces that the language model learns from, and no others."""
    torch.manual_seed(0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    tokenizer = make_tokenizer()
    model = Listener(len(tokenizer)).to(device)
    examples = [
        (text, wanted_of(random_piece(seed)[0]))
        for seed in range(pieces)
        for text in prompts_of(seed)
    ]
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.01)
    training = Training(folder / "text.pt", model, optimizer, ("loss", *ASPECTS))

    def update(step: int) -> tuple[float, ...]:
        chosen = np.random.default_rng([step, 7]).integers(len(examples), size=BATCH)
        tokens = tokenizer([examples[i][0] for i in chosen], padding=True, return_tensors="pt").to(
            device
        )
        loss, right = model(
            dict(tokens), torch.tensor([examples[i][1] for i in chosen], device=device)
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return float(loss.detach()), *right.tolist()

    training.run(
        steps,
        lambda step: LEARNING_RATE * min(1.0, (step + 1) / WARM_UP) * cosine(step / steps),
        update,
    )
    model.encoder.cpu().save_pretrained(folder / "text_encoder")
    tokenizer.save_pretrained(folder / "text_encoder")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tools.nano.text_encoder",
        description="Train the embedded model's text encoder.",
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=3000, help="(default: 3000)")
    arguments = parser.parse_args()
    train(arguments.folder, arguments.steps)


if __name__ == "__main__":
    main()
