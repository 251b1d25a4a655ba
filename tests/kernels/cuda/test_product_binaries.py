"""The products as each GPU runs them: tensor cores, no spills, and one order of a row's sums."""

import re
from dataclasses import dataclass, replace

import pytest
import torch

from serve_app.kernels.cuda.norm import Norm, normalize
from serve_app.kernels.cuda.products import Weights, Workspace, multiply
from tests.kernels.cuda.compiled import (
    BLACKWELL_ARCHS,
    TENSOR_CORE_ARCHS,
    Compiled,
    Launch,
    print_table,
)
from tests.kernels.cuda.interpreter import interpreted

HIDDEN, WIDE = 1024, 4096  # of the small shape
PROCESSORS = 132
MOST_SHARED_BYTES = 50 << 10  # two programs on a multiprocessor of an A10G
MOST_REGISTERS = 128  # 16 warps on a multiprocessor
INSTRUCTION = re.compile(r"(?:mma\.sync|wgmma\.mma_async)\.\S+")


@dataclass(frozen=True)
class Product:
    """One of a layer's products: its name, outputs, inputs, and what is fused."""

    name: str
    outputs: int
    inputs: int
    norm: bool
    gelu: bool = False
    int8: bool = False


PRODUCTS = [
    Product("qkv", 3 * HIDDEN, HIDDEN, norm=True),
    Product("fc1", WIDE, HIDDEN, norm=True, gelu=True),
    Product("fc2", HIDDEN, WIDE, norm=False),
    Product("int8 qkv", 3 * HIDDEN, HIDDEN, norm=True, int8=True),
    Product("int8 fc2", HIDDEN, WIDE, norm=False, int8=True),
]
each_product = pytest.mark.parametrize("product", PRODUCTS, ids=lambda product: product.name)


def launch(product: Product, rows: int, dtype: torch.dtype = torch.float16) -> Launch:
    shape = (product.outputs, product.inputs)
    x = torch.empty(rows, product.inputs, dtype=dtype)
    weight = torch.empty(shape, dtype=torch.int8 if product.int8 else dtype)
    weights = Weights(weight, torch.empty(product.outputs) if product.int8 else None)
    norm = Norm(x[0], x[0], 1e-5) if product.norm else None
    out = torch.empty(rows, product.outputs, dtype=dtype)
    workspace = Workspace(rows, [shape], PROCESSORS, torch.device("cpu"))
    with interpreted(execute=False) as launches:
        multiply(x, weights, out, workspace, norm, product.gelu, residual=not product.norm)
    return on_gpu(launches[-1])  # the norm of many rows has a launch of its own


def on_gpu(launch: Launch) -> Launch:
    """Return the launch with the constants that a tensor on a GPU sets."""
    return replace(launch, kwargs=launch.kwargs | {"PREFETCH": launch.kwargs["NORM"]})


def instructions(binary: Compiled) -> set[str]:
    return set(INSTRUCTION.findall(binary.ptx))


@each_product
@pytest.mark.parametrize("arch", TENSOR_CORE_ARCHS)
def test_a_product_of_few_rows_fits_twice_into_a_multiprocessor(
    product: Product, arch: int
) -> None:
    binary = launch(product, 2).compile(arch)
    print_table([binary])
    assert binary.stack_bytes == 0
    assert binary.tensor_cores
    assert binary.registers <= MOST_REGISTERS
    assert binary.shared_bytes <= MOST_SHARED_BYTES
    assert "cp.async.cg.shared.global" in binary.ptx, "weights are loaded ahead"
    assert ("prefetch.global.L2" in binary.ptx) == product.norm


@pytest.mark.parametrize("arch", TENSOR_CORE_ARCHS)
def test_a_part_is_announced_after_all_threads_have_stored_it(arch: int) -> None:
    ptx = launch(PRODUCTS[2], 2).compile(arch).ptx
    [announcement] = re.finditer(r"atom\S*\.acq_rel\S*\.add", ptx)
    before = ptx[: announcement.start()]
    assert before.rindex("bar.sync") > before.rindex("st.global")
    after = ptx[announcement.end() :]
    parts_read = after.index("ld.global.cg")  # past the L1 cache
    assert "bar.sync" in after[:parts_read]


@each_product
@pytest.mark.parametrize(
    ("rows", "arch"), [(128, 90), pytest.param(32, 80, marks=pytest.mark.long)]
)
def test_more_rows_run_the_same_instructions(product: Product, rows: int, arch: int) -> None:
    """Each instruction adds 16 inputs to a sum, so that the tile has no part in a row's result."""
    few = launch(product, 2).compile(arch)
    many = launch(product, rows).compile(arch)
    assert instructions(few) == instructions(many)
    assert len(instructions(few)) == 1
    assert "m16n8k16" in instructions(few).pop()
    assert many.stack_bytes == 0
    assert many.shared_bytes <= MOST_SHARED_BYTES


@pytest.mark.long
@pytest.mark.parametrize("arch", BLACKWELL_ARCHS)
@pytest.mark.parametrize("product", [PRODUCTS[0], PRODUCTS[-1]], ids=lambda product: product.name)
def test_later_gpus_run_the_same_instructions(product: Product, arch: int) -> None:
    """Their own tensor-core instructions have other shapes, and other orders of the sums."""
    before = launch(product, 2).compile(90)
    for rows in (2, 128):
        binary = launch(product, rows).compile(arch)
        assert instructions(binary) == instructions(before)
        assert binary.stack_bytes == 0
        assert binary.shared_bytes <= MOST_SHARED_BYTES


@pytest.mark.parametrize(("rows", "arch"), [(4, 86), (128, 80), (128, 90)])
def test_widths_that_no_tile_divides_compile_too(rows: int, arch: int) -> None:
    inputs, outputs = 1088, 1104
    x = torch.empty(rows, inputs, dtype=torch.bfloat16)
    bias = torch.empty(outputs, dtype=torch.bfloat16)
    weights = Weights(torch.empty(outputs, inputs, dtype=torch.bfloat16), None, bias)
    out = torch.empty(rows, 2 * outputs, dtype=torch.bfloat16)[:, :outputs]
    workspace = Workspace(rows, [(outputs, inputs)], PROCESSORS, torch.device("cpu"))
    norm = Norm(x[0], x[0], 1e-5)
    with interpreted(execute=False) as launches:
        multiply(x, weights, out, workspace, norm, residual=True, constant=bias)
    product = launches[-1]
    assert not product.kwargs["EVEN"]
    binary = on_gpu(product).compile(arch)
    assert binary.stack_bytes == 0
    assert binary.tensor_cores


def statistics_layouts(ttgir: str) -> set[str]:
    """The layouts in which rows are reduced, without the number of warps along the rows."""
    layouts = dict(re.findall(r"(#\w+) = #ttg\.blocked<\{(.*?)\}>", ttgir))
    reduced = re.findall(r"\(tensor<\d+x256xf32, (#\w+)>\) -> tensor<\d+xf32", ttgir)
    assert len(reduced) == 2, "the mean and the variance"
    return {re.sub(r"warpsPerCTA = \[\d+, 1\]", "", layouts[name]) for name in reduced}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_row_is_normalized_by_the_threads_of_one_warp(dtype: torch.dtype) -> None:
    """The order of the sums of a norm is that of the threads: it must not depend on the rows."""
    product = PRODUCTS[0]
    fused = [launch(product, rows, dtype) for rows in (1, 2, 4)]
    x = torch.empty(8, HIDDEN, dtype=dtype)
    with interpreted(execute=False) as launches:
        normalize(x, Norm(x[0], x[0], 1e-5), x)
    layouts = [statistics_layouts(one.compile(80).ttgir) for one in [*fused, *launches]]
    assert layouts[1:] == [layouts[0]] * 3
    assert len(layouts[0]) == 1
    assert "threadsPerWarp = [1, 32]" in layouts[0].pop()
