"""Train the language model of a MusicGen on codes with prompts.

    python -m tools.nano.language_model FOLDER [--steps N] [--device cuda|cpu]
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
from torch import Tensor

from tools.nano import codes as codes_file
from tools.nano.adapter import add_adapter
from tools.nano.batches import (
    EARLY_SHARES,
    LATE_SHARES,
    Batch,
    Dataset,
    endless,
    held_out_batch,
    training_batch,
)
from tools.nano.codes import Example
from tools.nano.huggingface import save
from tools.nano.prediction import loss_of
from tools.nano.training import (
    Training,
    learning_rate_factor,
    training_device,
    training_parser,
)

NUM_CODEBOOKS = 4
EARLY = 0.3  # share of the steps with EARLY_SHARES
ENDLESS = 0.48  # share of the steps after which no piece ends: see `batches.endless`
HELD_OUT = 32  # last examples, excluded from training
LEARNING_RATE = 1.5e-3
STEPS = 34_400
WARM_UP = 100  # steps
FINAL_LEARNING_RATE = 0.02  # of the peak
EMBEDDING_STD = 0.25  # per codebook, so that their sum is as large as the position embedding
COLUMNS = ("cross-entropy", "held out", "without prompt")  # nats
SIZE: dict[str, int] = {
    "hidden_size": 192,
    "num_hidden_layers": 5,
    "num_attention_heads": 6,
    "ffn_dim": 704,
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


def train(
    folder: Path,
    steps: int,
    checkpoint: Path | None = None,
    learning_rate: float = LEARNING_RATE,
    adapter_rank: int | None = None,
    device: str | None = None,
) -> None:
    """Train up to `steps` steps in all, then write FOLDER/checkpoint or, of that rank, FOLDER/adapter."""
    torch.manual_seed(0)
    where = training_device(device)
    if where.type == "cuda":
        torch.set_float32_matmul_precision("high")
    examples, held_out = _split(codes_file.load(folder))
    model, tokenizer = build(folder) if checkpoint is None else read(checkpoint)
    whole = Dataset(examples, tokenizer, where)
    begun = whole if checkpoint else Dataset(endless(examples) or examples, tokenizer, where)
    held_out_data = held_out_batch(Dataset(held_out, tokenizer, where))
    adapter = None if adapter_rank is None else add_adapter(model, adapter_rank)
    model.to(where)
    optimizer = optimizer_of(model, learning_rate)
    training = Training(folder / "lm.pt", model, optimizer, COLUMNS)

    def rate(step: int) -> float:
        return learning_rate * learning_rate_factor(step, steps, WARM_UP, FINAL_LEARNING_RATE)

    def step_of(step: int) -> tuple[Tensor]:
        shares = EARLY_SHARES if step < EARLY * steps else LATE_SHARES
        dataset = whole if step < ENDLESS * steps else begun
        return (update(model, optimizer, training_batch(dataset, step, shares)),)

    def evaluate() -> tuple[Tensor, Tensor]:
        return _evaluate(model, held_out_data)

    training.run(steps, rate, step_of, evaluate)
    if adapter is not None:
        adapter.save_pretrained(folder / "adapter")
    else:
        save(model.cpu(), tokenizer, folder / "checkpoint")


def optimizer_of(model: Any, learning_rate: float) -> torch.optim.Optimizer:
    parameters = (p for p in model.parameters() if p.requires_grad)
    return torch.optim.AdamW(
        parameters, lr=learning_rate, betas=(0.9, 0.95), weight_decay=0.05, fused=True
    )


def update(model: Any, optimizer: torch.optim.Optimizer, batch: Batch) -> Tensor:
    """Update the model on a batch; return the loss."""
    with _mixed_precision(batch.codes.device):
        loss = loss_of(model, batch.tokens, batch.codes, batch.keep, batch.inputs)
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return loss.detach()


def _mixed_precision(device: torch.device) -> torch.autocast:
    """bfloat16 products on a CPU that has them. A GPU is idle most of the time, and has TF32."""
    fast = device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()
    return torch.autocast("cpu", torch.bfloat16, enabled=fast)


def _evaluate(model: Any, batch: Batch) -> tuple[Tensor, Tensor]:
    """Loss with and without prompts."""
    with torch.no_grad():
        prompted = loss_of(model, batch.tokens, batch.codes, batch.keep)
        unprompted = loss_of(model, batch.tokens, batch.codes, 0 * batch.keep)
    return prompted, unprompted


def _split(examples: list[Example]) -> tuple[Sequence[Example], Sequence[Example]]:
    """Split off HELD_OUT examples. Few examples serve both for training and for evaluation."""
    if len(examples) <= 4 * HELD_OUT:
        return examples, examples
    return examples[:-HELD_OUT], examples[-HELD_OUT:]


def main() -> None:
    parser = training_parser("language_model", "Train the language model of a MusicGen.", STEPS)
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
