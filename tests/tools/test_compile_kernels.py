"""The image's cache of kernels: a launch in another batch finds its kernel there."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import triton
from triton.runtime.jit import JITFunction

from serve_app.kernels.cuda import attention, cross_attention, draw, embedding, norm, product_kernel
from tools.compile_kernels import PROCESSORS, SLOTS, T4, compile_model

MODULES = (attention, cross_attention, draw, embedding, norm, product_kernel)
WIDTH = 128
PROCESSOR_COUNT = 12


@pytest.fixture
def compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, bool]]]:
    """The kernels that were asked for, and whether the cache, empty at first, had them.

    Without a C compiler, as in the stage of the image that fills the cache.
    """
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CC", raising=False)
    kernels: list[tuple[str, bool]] = []

    def listen(*, src: Any, cache_hit: bool, **_: Any) -> None:
        kernels.append((src.fn.fn.__name__, cache_hit))

    with triton.knobs.cache.scope(), triton.knobs.compilation.scope():
        triton.knobs.cache.dir = str(tmp_path)
        triton.knobs.compilation.listener = listen
        forget()
        yield kernels
    forget()


def forget() -> None:
    """Forget what this process has compiled, as a new process would."""
    for module in MODULES:
        for kernel in vars(module).values():
            if isinstance(kernel, JITFunction):
                kernel.device_caches.clear()


@pytest.mark.parametrize("capability", [T4, 90])
def test_other_batches_find_their_kernels(
    capability: int, compiled: list[tuple[str, bool]], tmp_path: Path
) -> None:
    compile_model(capability, PROCESSOR_COUNT, WIDTH, SLOTS)
    first = {name for name, cached in compiled if not cached}
    of_the_layers = {"product_kernel", "attend_to_text", "embedding_kernel", "norm_kernel"}
    everywhere = {"attend_split", "combine_splits", "draw_kernel"}
    assert first == everywhere | (set() if capability == T4 else of_the_layers)
    assert len(list(tmp_path.rglob("*.cubin"))) == sum(not cached for _, cached in compiled)
    compiled.clear()
    forget()
    compile_model(capability, PROCESSOR_COUNT, WIDTH, (5, 6, 7, 12, 64))
    assert {name for name, _ in compiled} == first
    assert all(cached for _, cached in compiled)


def test_the_cards_of_the_speed_model_are_there() -> None:
    """T4, A100, A10G, L4 and L40S, H100."""
    assert set(PROCESSORS) == {T4, 80, 86, 89, 90}
