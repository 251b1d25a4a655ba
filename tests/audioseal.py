"""AudioSeal's own package as the oracle, with random weights of the published shape."""

import warnings
from functools import cache
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from serve_app.checkpoints.audioseal import save
from serve_app.models.audioseal.detector import Detector
from serve_app.models.audioseal.generator import Generator, bits_of

MESSAGE = 0xA5C3
SEANET: dict[str, Any] = {
    "activation": "ELU",
    "activation_params": {"alpha": 1.0},
    "causal": False,
    "channels": 1,
    "compress": 2,
    "dilation_base": 2,
    "dimension": 128,
    "disable_norm_outer_blocks": 0,
    "kernel_size": 7,
    "last_kernel_size": 7,
    "lstm": 2,
    "n_filters": 32,
    "n_residual_layers": 1,
    "norm": "weight_norm",
    "norm_params": {},
    "pad_mode": "constant",
    "ratios": [8, 5, 4, 2],
    "residual_kernel_size": 3,
    "true_skip": True,
}
_DECODER = {"final_activation": None, "final_activation_params": None, "trim_right_ratio": 1.0}
Kind = Literal["generator", "detector"]


@cache
def package() -> Any:
    """Import the package, without compilation. Its deprecation warnings of torch.jit are its own."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r".*torch\.jit\.", category=DeprecationWarning)
        import audioseal
        from audioseal.libs.moshi.utils import compile as compilation

    compilation._compile_disabled = True
    return audioseal


def configuration(kind: Kind, causal: bool) -> dict[str, Any]:
    """The configuration of a published file."""
    own: dict[str, Any] = {"decoder": _DECODER} if kind == "generator" else {}
    return {"nbits": 16, "seanet": SEANET | {"causal": causal}, **own}


def make(kind: Kind, causal: bool = False, seed: int = 0) -> nn.Module:
    """Make the package's network with random weights."""
    audioseal = package()
    torch.manual_seed(seed)
    schema = {
        "generator": audioseal.builder.AudioSealWMConfig,
        "detector": audioseal.builder.AudioSealDetectorConfig,
    }[kind]
    config = audioseal.AudioSeal.parse_config(configuration(kind, causal), schema)
    build = getattr(audioseal.builder, f"create_{kind}")
    network: nn.Module = build(config).eval().requires_grad_(False)
    return network


def published_state(network: nn.Module) -> dict[str, Tensor]:
    """The weights with the names of the published files, convolutions with weight normalization."""
    state: dict[str, Tensor] = {}
    for name, tensor in network.state_dict().items():
        old = name.replace(".inner_conv.", ".")
        if ".inner_conv." not in name or not name.endswith("weight"):
            state[old] = tensor
            continue
        dims = tuple(range(1, tensor.ndim))
        scale = torch.rand(len(tensor), *[1] * len(dims)) + 0.5
        state[f"{old}_g"] = torch.linalg.vector_norm(tensor, dim=dims, keepdim=True)
        state[f"{old}_v"] = tensor * scale
    return state


def write_published(
    file: Path, kind: Kind, causal: bool = False, state: dict[str, Tensor] | None = None
) -> nn.Module:
    """Write a file of the published form; return the network that it holds."""
    from omegaconf import DictConfig

    network = make(kind, causal)
    content = DictConfig(configuration(kind, causal))
    torch.save({"xp.cfg": content, "model": state or published_state(network)}, file)
    return network


def write_generator(file: Path, causal: bool = False) -> Path:
    """Write a converted generator with random weights of the true shape."""
    torch.manual_seed(0)
    save(Generator(causal=causal), file, causal=causal)
    return file


def write_detector(file: Path, message: int = MESSAGE, *, finds: bool = True) -> Path:
    """Write a converted detector of the true shape whose last layer always answers the same."""
    torch.manual_seed(0)
    detector = Detector(causal=True).requires_grad_(False)
    detector.head.weight.zero_()
    assert detector.head.bias is not None
    detector.head.bias[:2] = torch.tensor([-1.0, 1.0] if finds else [1.0, -1.0])
    detector.head.bias[2:] = bits_of(message) - 0.5
    save(detector, file, causal=True)
    return file
