"""Instruction sets of the CPU that numba compiles for.

numba keys its cache of compiled kernels by the same CPU and features.
"""

from collections.abc import Mapping
from typing import NamedTuple, cast

from llvmlite import binding
from numba.core import config

Features = Mapping[str, bool]


class DotProduct(NamedTuple):
    """An instruction for products of 8 bits.

    lanes: products at once; unsigned: whether it takes weights without a sign; rows: that share a
    load of the weights, by the number of registers.
    """

    lanes: int
    unsigned: bool
    rows: int


VNNI_512 = DotProduct(64, unsigned=True, rows=4)
VNNI_256 = DotProduct(32, unsigned=True, rows=2)
AVX2 = DotProduct(32, unsigned=False, rows=2)
PORTABLE = DotProduct(16, unsigned=False, rows=2)


def target_features(setting: str | None) -> Features:
    """Parse numba's setting NUMBA_CPU_FEATURES, such as `+avx2,-avx512f`; None for the host's."""
    if not setting:
        return cast(Features, binding.get_host_cpu_features())
    return {feature[1:]: feature[0] == "+" for feature in setting.split(",") if feature}


def dot_product(features: Features) -> DotProduct:
    """Return the widest instruction that a CPU has."""
    if features.get("avx512vnni"):
        return VNNI_512
    if features.get("avxvnni"):
        return VNNI_256
    return AVX2 if features.get("avx2") else PORTABLE


FEATURES = target_features(config.CPU_FEATURES)
DOT_PRODUCT = dot_product(FEATURES)
