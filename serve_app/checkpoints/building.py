"""Building of modules without memory for their weights, from a configuration in a checkpoint."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from serve_app.checkpoints.faults import faults_named

ModuleT = TypeVar("ModuleT", bound=nn.Module)


class _WithoutInitialization(TorchFunctionMode):
    """Leave out `torch.nn.init`, which on the meta device imports PyTorch's compiler: over a second."""

    def __torch_function__(
        self,
        function: Any,
        _: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(function, "__module__", "") == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        return function(*args, **kwargs)


def build(file: Path, make: Callable[[], ModuleT]) -> ModuleT:
    """Make a module on the meta device.

    Raises CheckpointError naming `file` if its configuration fits no module.
    """
    cure = "Use the configuration that was saved with these weights."
    with (
        torch.device("meta"),
        _WithoutInitialization(),
        faults_named(file, "describes no possible model", cure),
    ):
        module = make()
        for name, weight in module.named_parameters():
            if not weight.numel():
                raise ValueError(f"'{name}' of {tuple(weight.shape)} has no weights")
        return module
