"""Compile a recorded launch of a Triton kernel for each GPU, without a GPU."""

import re
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, make_backend
from triton.runtime.jit import create_function_from_signature

from serve_app.kernels.cuda.compilation import overlap

HOPPER = 90  # has programmatic dependent launch
T4 = 75  # Triton's tl.dot is of no use there
TENSOR_CORE_ARCHS = (80, 86, 89, 90)  # A100; A10G; L4 and L40S; H100
ALL_ARCHS = (T4, *TENSOR_CORE_ARCHS)
BLACKWELL_ARCHS = (100, 120)  # B200; RTX 50
REGISTERS_OF_SM = 65_536
WARPS_OF_SM = {75: 32, 80: 64, 86: 48, 89: 48, 90: 64}
SHARED_BYTES_OF_SM = {75: 64 << 10, 80: 164 << 10, 86: 100 << 10, 89: 100 << 10, 90: 228 << 10}
TENSOR_CORES = re.compile(r"\b(?:mma\.sync|wgmma\.mma_async|tcgen05\.mma)")


@dataclass(frozen=True)
class Compiled:
    """Resources of a kernel on one GPU.

    stack_bytes: of a thread, where spilled registers go; tensor_cores: whether it uses them; vector_loads: 16-byte
    loads from global memory, in the PTX; loads_in_flight: most of them that a thread issues without waiting for any;
    ttgir: Triton's intermediate code, which names the layouts.
    """

    kernel: str
    arch: int
    warps: int
    registers: int
    shared_bytes: int
    stack_bytes: int
    tensor_cores: bool
    vector_loads: int
    loads_in_flight: int
    ptx: str
    ttgir: str

    @property
    def warps_on_sm(self) -> int:
        """Warps that a multiprocessor holds at once: its occupancy."""
        allocated = -(-self.registers // 8) * 8 * 32 * self.warps
        blocks = REGISTERS_OF_SM // allocated
        if self.shared_bytes:
            blocks = min(blocks, SHARED_BYTES_OF_SM[self.arch] // self.shared_bytes)
        return min(blocks * self.warps, WARPS_OF_SM[self.arch])


@dataclass(frozen=True)
class Launch:
    """A launch as it was called: arguments of the kernel, and options such as num_warps."""

    kernel: Any
    grid: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    @property
    def name(self) -> str:
        return str(self.kernel.fn.__name__)

    def compile(self, arch: int) -> Compiled:
        """Compile the variant that this launch would run on a GPU of `arch`."""
        target = GPUTarget("cuda", arch, 32)
        options, *specialization = self._specialized(target)
        source = ASTSource(self.kernel, *specialization)
        binary = triton.compile(source, target=target, options=options.__dict__)
        text = disassembled(binary.asm["cubin"])
        used = re.search(r"REG:(\d+) STACK:(\d+).* LOCAL:(\d+)", text)
        assert used is not None, text
        ptx = binary.asm["ptx"]
        return Compiled(
            kernel=self.name,
            arch=arch,
            warps=binary.metadata.num_warps,
            registers=int(used[1]),
            shared_bytes=binary.metadata.shared,
            stack_bytes=int(used[2]) + int(used[3]),
            tensor_cores=TENSOR_CORES.search(ptx) is not None,
            vector_loads=len(re.findall(r"ld\.global\S*\.v4\.b32|ld\.global\S*\.v2\.b64", ptx)),
            loads_in_flight=max(map(loads_into_own_registers, text.split("BAR.SYNC"))),
            ptx=ptx,
            ttgir=binary.asm["ttgir"],
        )

    def variant(self, arch: int = 90) -> str:
        """Describe the variant of the kernel: launches of one variant run the same binary."""
        return str((self.name, *self._specialized(GPUTarget("cuda", arch, 32))))

    def _specialized(self, target: GPUTarget) -> tuple[Any, ...]:
        """Return the options, types, constants and alignments for which Triton would compile."""
        backend = make_backend(target)
        kwargs = self.kwargs
        if "DEPENDENT" in kwargs:
            kwargs = kwargs | overlap(divmod(target.arch, 10))
        bind = create_function_from_signature(self.kernel.signature, self.kernel.params, backend)
        bound, specialization, options = bind(*self.args, **kwargs)
        packed: tuple[Any, ...] = self.kernel._pack_args(
            backend, kwargs, bound, specialization, options
        )
        return packed


def disassembled(cubin: bytes) -> str:
    """Return the instructions, and the registers and bytes of stack of a thread."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "kernel.cubin"
        file.write_bytes(cubin)
        command = [triton.knobs.nvidia.cuobjdump.path, "--dump-resource-usage", "--dump-sass", file]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def loads_into_own_registers(instructions: str) -> int:
    """Count the 16-byte loads into distinct registers: a register loaded twice was waited for."""
    return len(set(re.findall(r"\bLDG\.E\.128\S* (R\d+),", instructions)))


def compile_all(launches: Iterable[Launch], archs: Iterable[int]) -> list[Compiled]:
    """Compile one launch of each kernel for each GPU, and print the table."""
    by_name = {launch.name: launch for launch in launches}
    binaries = [launch.compile(arch) for launch in by_name.values() for arch in archs]
    print_table(binaries)
    return binaries


def print_table(binaries: Iterable[Compiled]) -> None:
    print(
        "\n| kernel | sm | warps | registers | shared | stack | warps on SM | 16-byte loads ",
        end="",
    )
    print("| in flight | tensor cores |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for one in binaries:
        cores = "yes" if one.tensor_cores else "no"
        print(
            f"| {one.kernel} | {one.arch} | {one.warps} | {one.registers} | {one.shared_bytes} | {one.stack_bytes} "
            f"| {one.warps_on_sm} | {one.vector_loads} | {one.loads_in_flight} | {cores} |"
        )
