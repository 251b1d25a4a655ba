"""Train the language model of a MusicGen on codes with prompts.

    python -m tools.nano.language_model FOLDER [--steps N]
    python -m tools.nano.language_model FOLDER --checkpoint CHECKPOINT [--adapter-rank RANK]

The first form trains the embedded model from scratch, with the codec in FOLDER/encodec and the text
encoder in FOLDER/text_encoder. The second fine-tunes CHECKPOINT. The training data is FOLDER/codes
(python -m tools.nano.codes).
Training resumes from FOLDER/lm.pt and saves its state there. FOLDER/lm.png plots the loss. At the
end FOLDER/checkpoint holds the whole model in the Hugging Face format; with --adapter-rank only a
LoRA adapter is trained, and FOLDER/adapter holds it. As in MusicGen's own
training (arXiv:2306.05284, section 3), some examples drop their prompt, for classifier-free
guidance.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tools.nano import codes as codes_file
from tools.nano.adapter import add_adapter
from tools.nano.batches import EARLY_SHARES, LATE_SHARES, Batch, held_out_batch, training_batch
from tools.nano.codes import Example
from tools.nano.huggingface import save
from tools.nano.training import (
    Training,
    learning_rate_factor,
    training_device,
    training_parser,
)

NUM_CODEBOOKS = 4
EARLY = 0.3  # share of the steps with EARLY_SHARES
# Loss weights of the codebooks: the first determines the sound, the last are partly noise.
WEIGHTS = (2.0, 1.0, 0.5, 0.5)
HELD_OUT = 32  # last examples, excluded from training
LEARNING_RATE = 1.5e-3
WARM_UP = 100  # steps
FINAL_LEARNING_RATE = 0.02  # of the peak
EMBEDDING_STD = 0.25  # per codebook, so that their sum is as large as the position embedding
COLUMNS = ("cross-entropy", "held out", "without prompt")  # nats
SIZE: dict[str, int] = {
    "hidden_size": 160,
    "num_hidden_layers": 4,
    "num_attention_heads": 5,
    "ffn_dim": 640,
}


def build(folder: Path) -> tuple[Any, Any]:
    """Build the embedded model with an untrained decoder; return it and its tokenizer."""
    from transformers import (
        AutoTokenizer,
        EncodecModel,
        MusicgenForCausalLM,
        MusicgenForConditionalGeneration,
        T5EncoderModel,
    )

    encodec = EncodecModel.from_pretrained(folder / "encodec")
    model = MusicgenForConditionalGeneration(
        text_encoder=T5EncoderModel.from_pretrained(folder / "text_encoder"),
        audio_encoder=encodec,
        decoder=MusicgenForCausalLM(_decoder_config(encodec.config.codebook_size)),
    )
    # A model composed of parts has no attention implementation, and would not mask the future.
    model.decoder.set_attn_implementation("sdpa")
    _initialize(model)
    _freeze_encoders(model)
    return model, AutoTokenizer.from_pretrained(folder / "text_encoder")


def _decoder_config(codebook_size: int) -> Any:
    from transformers import MusicgenDecoderConfig

    return MusicgenDecoderConfig(
        vocab_size=codebook_size,
        num_codebooks=NUM_CODEBOOKS,
        pad_token_id=codebook_size,
        bos_token_id=codebook_size,
        dropout=0.0,
        **SIZE,
    )


def _initialize(model: Any) -> None:
    """Initialize by layer width. With transformers' fixed 0.02, a narrow model ignores prompts."""
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
    """Load model and tokenizer of a checkpoint. Raises SystemExit if it is stereo."""
    from transformers import AutoTokenizer, MusicgenForConditionalGeneration

    model = MusicgenForConditionalGeneration.from_pretrained(checkpoint).float()
    if model.config.decoder.audio_channels != 1:
        raise SystemExit(f"{checkpoint} is stereo; only mono models can be trained here")
    _freeze_encoders(model)
    return model, AutoTokenizer.from_pretrained(checkpoint)


def _freeze_encoders(model: Any) -> None:
    model.audio_encoder.requires_grad_(False)
    model.text_encoder.requires_grad_(False)


def delayed(codes: Tensor, special: int) -> Tensor:
    """Apply the delay pattern: codes [B, K, T] -> [B, K, T + K], filled up with special tokens."""
    batch, num_codebooks, frames = codes.shape
    sequence = torch.full(
        (batch, num_codebooks, frames + num_codebooks), special, device=codes.device
    )
    for k in range(num_codebooks):
        sequence[:, k, k + 1 : k + 1 + frames] = codes[:, k]
    return sequence


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


def train(
    folder: Path,
    steps: int,
    checkpoint: Path | None = None,
    learning_rate: float = LEARNING_RATE,
    adapter_rank: int | None = None,
) -> None:
    """Train up to `steps` steps in all, then write FOLDER/checkpoint or, of that rank, FOLDER/adapter."""
    torch.manual_seed(0)
    device = training_device()
    examples, held_out = _split(codes_file.load(folder))
    model, tokenizer = build(folder) if checkpoint is None else read(checkpoint)
    adapter = None if adapter_rank is None else add_adapter(model, adapter_rank)
    model.to(device)
    parameters = (p for p in model.parameters() if p.requires_grad)
    optimizer = torch.optim.AdamW(
        parameters, lr=learning_rate, betas=(0.9, 0.95), weight_decay=0.05
    )
    training = Training(folder / "lm.pt", model, optimizer, COLUMNS)

    def rate(step: int) -> float:
        return learning_rate * learning_rate_factor(step, steps, WARM_UP, FINAL_LEARNING_RATE)

    def step_of(step: int) -> tuple[float]:
        shares = EARLY_SHARES if step < EARLY * steps else LATE_SHARES
        batch = training_batch(examples, tokenizer, step, shares)
        return (update(model, optimizer, batch.to(device)),)

    def evaluate() -> tuple[float, float]:
        return _evaluate(model, held_out_batch(held_out, tokenizer).to(device))

    training.run(steps, rate, step_of, evaluate)
    if adapter is not None:
        adapter.save_pretrained(folder / "adapter")
    else:
        save(model.cpu(), tokenizer, folder / "checkpoint")


def update(model: Any, optimizer: torch.optim.Optimizer, batch: Batch) -> float:
    """Update the model on a batch; return the loss."""
    loss = loss_of(model, batch.tokens, batch.codes, batch.keep, batch.inputs)
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return float(loss.detach())


def _evaluate(model: Any, batch: Batch) -> tuple[float, float]:
    """Loss with and without prompts."""
    with torch.no_grad():
        prompted = loss_of(model, batch.tokens, batch.codes, batch.keep)
        unprompted = loss_of(model, batch.tokens, batch.codes, 0 * batch.keep)
    return float(prompted), float(unprompted)


def _split(examples: list[Example]) -> tuple[Sequence[Example], Sequence[Example]]:
    """Split off HELD_OUT examples. Few examples serve both for training and for evaluation."""
    if len(examples) <= 4 * HELD_OUT:
        return examples, examples
    return examples[:-HELD_OUT], examples[-HELD_OUT:]


def main() -> None:
    parser = training_parser("language_model", "Train the language model of a MusicGen.", 20000)
    parser.add_argument(
        "--checkpoint", type=Path, help="MusicGen in the Hugging Face format to fine-tune"
    )
    parser.add_argument(
        "--learning-rate", type=float, default=LEARNING_RATE, help="1e-4 or less with --checkpoint"
    )
    parser.add_argument(
        "--adapter-rank", type=int, help="train a LoRA adapter of this rank for --checkpoint alone"
    )
    arguments = parser.parse_args()
    if arguments.adapter_rank is not None and arguments.checkpoint is None:
        parser.error("--adapter-rank needs --checkpoint")
    train(**vars(arguments))


if __name__ == "__main__":
    main()
