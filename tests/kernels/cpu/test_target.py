"""Features of the CPU that kernels are compiled for, and the instruction that they allow."""

import pytest
from llvmlite import binding

from serve_app.kernels.cpu.target import (
    AVX2,
    PORTABLE,
    VNNI_256,
    VNNI_512,
    DotProduct,
    dot_product,
    target_features,
)


def test_features_are_those_of_numbas_setting_or_of_the_host() -> None:
    assert target_features("+avx2,-avx512f") == {"avx2": True, "avx512f": False}
    assert dict(target_features(None)) == dict(binding.get_host_cpu_features())


@pytest.mark.parametrize(
    ("setting", "instruction"),
    [
        ("+avx2,+avx512vnni", VNNI_512),
        ("+avx2,+avxvnni,-avx512vnni", VNNI_256),
        ("+avx2,-avxvnni", AVX2),
        ("+neon", PORTABLE),
    ],
)
def test_the_widest_instruction_is_chosen(setting: str, instruction: DotProduct) -> None:
    assert dot_product(target_features(setting)) == instruction
