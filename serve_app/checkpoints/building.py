"""Building of modules without memory for their weights, from a configuration in a checkpoint."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from serve_app.checkpoints.faults import faults_named

ModuleT = TypeVar("ModuleT", bound=nn.Module)


def build(file: Path, make: Callable[[], ModuleT]) -> ModuleT:
    """Make a module on the meta device.

    Raises CheckpointError naming `file` if its configuration fits no module.
    """
    cure = "Use the configuration that was saved with these weights."
    with torch.device("meta"), faults_named(file, "describes no possible model", cure):
        return make()
