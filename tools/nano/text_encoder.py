"""Train the text encoder of the embedded model: each token's state predicts the prompt's meaning.

    python -m tools.nano.text_encoder FOLDER [--steps N] [--device cuda|cpu]

MusicGen's own T5 is pretrained on text and frozen while the language model is trained. So is this
one. Training resumes from FOLDER/text.pt and saves its state there. FOLDER/text.png plots the loss.
At the end FOLDER/text_encoder holds the T5 encoder and its tokenizer in the Hugging Face format.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tools.nano.codes import EXAMPLES, prompts_of
from tools.nano.prompts import LONGEST_S, random_example
from tools.nano.score import BEATS, GROOVES, LEADS, SCALES, TONICS, Score
from tools.nano.tokenizer import make_tokenizer
from tools.nano.training import (
    Training,
    learning_rate_factor,
    training_device,
    training_parser,
)

SIZE: dict[str, int] = {"d_model": 96, "d_kv": 32, "d_ff": 192, "num_layers": 2, "num_heads": 3}
BATCH = 128  # prompts
LEARNING_RATE = 3e-3
WARM_UP = 50  # steps
# Properties that a prompt may name, with their possible values.
ASPECTS: dict[str, Sequence[Any]] = {
    "beat": BEATS,
    "tonic": list(TONICS),
    "mode": list(SCALES),
    "lead": LEADS,
    "groove": GROOVES,
    "energy": range(3),
    "length_s": (None, *range(1, LONGEST_S + 1)),
}


class PromptClassifier(nn.Module):
    """T5 encoder with a linear classifier for each of ASPECTS on every token's state."""

    def __init__(self, vocabulary: int) -> None:
        from transformers import T5Config, T5EncoderModel

        super().__init__()
        config = T5Config(vocab_size=vocabulary, dropout_rate=0.0, **SIZE)
        self.encoder: Any = T5EncoderModel(config)
        self.heads = nn.ModuleList(
            nn.Linear(SIZE["d_model"], len(values)) for values in ASPECTS.values()
        )

    def forward(self, tokens: dict[str, Tensor], labels: Tensor) -> tuple[Tensor, Tensor]:
        """tokens [B, L], labels [B, aspects] -> summed cross-entropy in nats, accuracy [aspects]"""
        mask = tokens["attention_mask"]
        states = self.encoder(**tokens).last_hidden_state.flatten(0, 1)
        labels = labels[:, None].expand(-1, mask.shape[1], -1).flatten(0, 1)
        weights = mask.flatten() / mask.sum()
        losses = []
        accuracies = []
        for head, label in zip(self.heads, labels.unbind(dim=1), strict=True):
            logits = head(states)
            losses.append((F.cross_entropy(logits, label, reduction="none") * weights).sum())
            accuracies.append(((logits.argmax(-1) == label) * weights).sum())
        return torch.stack(losses).sum(), torch.stack(accuracies)


def labels_of(score: Score) -> list[int]:
    """Index of the score's value of each aspect."""
    return [values.index(getattr(score, aspect)) for aspect, values in ASPECTS.items()]


def train(folder: Path, steps: int, examples: int = EXAMPLES, device: str | None = None) -> None:
    """Train on exactly the prompts that the language model is trained on."""
    torch.manual_seed(0)
    where = training_device(device)
    tokenizer = make_tokenizer()
    model = PromptClassifier(len(tokenizer)).to(where)
    prompts, labels = _labelled_prompts(examples)
    tokens = tokenizer(prompts, padding=True, return_tensors="pt")
    token_counts = tokens["attention_mask"].sum(1).numpy()
    ids, mask, wanted = (
        tensor.to(where)
        for tensor in (tokens["input_ids"], tokens["attention_mask"], torch.tensor(labels))
    )
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=LEARNING_RATE, weight_decay=0.01, fused=True
    )
    training = Training(folder / "text.pt", model, optimizer, ("loss", *ASPECTS))

    def learning_rate(step: int) -> float:
        return LEARNING_RATE * learning_rate_factor(step, steps, WARM_UP)

    def step_of(step: int) -> tuple[Tensor, ...]:
        chosen = np.random.default_rng([step, 7]).integers(len(prompts), size=BATCH)
        longest = int(token_counts[chosen].max())
        index = torch.from_numpy(chosen).to(where, non_blocking=True)
        batch = {"input_ids": ids[index, :longest], "attention_mask": mask[index, :longest]}
        return update(model, optimizer, batch, wanted[index])

    training.run(steps, learning_rate, step_of)
    model.encoder.cpu().save_pretrained(folder / "text_encoder")
    tokenizer.save_pretrained(folder / "text_encoder")


def update(
    model: PromptClassifier,
    optimizer: torch.optim.Optimizer,
    tokens: dict[str, Tensor],
    labels: Tensor,
) -> tuple[Tensor, ...]:
    """Update the model on a batch; return the loss, then the accuracy of each aspect."""
    loss, accuracy = model(tokens, labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.detach(), *accuracy.unbind()


def _labelled_prompts(examples: int) -> tuple[list[str], list[list[int]]]:
    """All prompts of the first `examples` seeds, and the labels of each prompt."""
    prompts = []
    labels = []
    for seed in range(examples):
        score_labels = labels_of(random_example(seed)[0])
        for prompt in prompts_of(seed):
            prompts.append(prompt)
            labels.append(score_labels)
    return prompts, labels


def main() -> None:
    description = "Train the text encoder of the embedded model."
    arguments = training_parser("text_encoder", description, steps=3000).parse_args()
    train(arguments.folder, arguments.steps, device=arguments.device)


if __name__ == "__main__":
    main()
