"""Small random models of Demucs, in its own form of safetensors."""

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from tests.untraced import untraced

SOURCES = ["drums", "bass", "other", "vocals"]
ARGUMENTS: dict[str, Any] = {
    "sources": SOURCES,
    "channels": 8,
    "dconv_comp": 4,
    "depth": 4,
    "t_layers": 1,
    "t_heads": 2,
    "bottom_channels": 16,
    "samplerate": 44_100,
    "segment": {"_type": "fraction", "numerator": 1, "denominator": 2},
}


@untraced
def write_htdemucs(file: Path, **arguments: Any) -> Path:
    """Write a small random model as Demucs' tools export it: class and arguments in the header."""
    from demucs.htdemucs import HTDemucs

    torch.manual_seed(4)
    arguments = ARGUMENTS | arguments
    model = HTDemucs(**arguments | {"segment": Fraction(1, 2)})
    metadata = {"klass": "demucs.htdemucs.HTDemucs", "args": "[]", "kwargs": json.dumps(arguments)}
    state = {name: value.half().contiguous() for name, value in model.state_dict().items()}
    save_file(state, file, metadata)
    return file
