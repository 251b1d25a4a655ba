"""Small random melody models, built without a checkpoint."""

import torch

from serve_app.models.chroma import MelodyConfig
from serve_app.models.musicgen.conditioning import ConditioningSpec
from serve_app.models.musicgen.model import MusicGen, MusicGenConfig
from serve_app.models.musicgen.transformer import TransformerConfig
from tests.architectures import randomize

CHROMA = 75  # frames: more than a bucket of the cache, and no multiple of a block
K, V = 4, 64
TEXT_SIZE = 24
NOTHING = torch.zeros(K, 0, dtype=torch.int64)


def melody_model(hidden_size: int = 32, num_heads: int = 4) -> MusicGen:
    """Build a model of two layers that hears a melody."""
    torch.manual_seed(4)
    transformer = TransformerConfig(hidden_size, 2, num_heads, ffn_dim=2 * hidden_size)
    config = MusicGenConfig(
        transformer,
        K,
        V,
        (0, 1, 2, 3),
        audio_channels=1,
        text_hidden_size=TEXT_SIZE,
        conditioning=ConditioningSpec(text="prefix", prefix_positions=CHROMA),
        melody=MelodyConfig(chroma_length=CHROMA),
    )
    model = MusicGen(config)
    randomize(model)
    torch.nn.init.normal_(model.embedding.weight, std=1.0)
    return model.eval().requires_grad_(False)


def tune(seed: int = 0) -> torch.Tensor:
    """Pitch classes [CHROMA] of a melody."""
    return torch.randint(12, (CHROMA,), generator=torch.Generator().manual_seed(seed))


def text(tokens: int, seed: int = 0) -> torch.Tensor:
    """Encoded prompt [tokens, TEXT_SIZE]."""
    return torch.randn(tokens, TEXT_SIZE, generator=torch.Generator().manual_seed(seed))
