"""Residual vector quantization: each codebook's nearest entries to the previous residual."""

import torch

from serve_app.models.encodec.rvq import dequantize, quantize


def test_each_codebook_takes_the_entry_nearest_to_the_residual() -> None:
    codebooks = torch.randn(3, 8, 5)
    latents = torch.randn(2, 5, 7)
    codes = quantize(latents, codebooks)
    assert codes.shape == (2, 3, 7)
    residual = latents.transpose(1, 2)
    for k in range(3):
        nearest = torch.cdist(residual, codebooks[k].expand(2, -1, -1)).argmin(-1)
        assert torch.equal(codes[:, k], nearest)
        residual = residual - codebooks[k][nearest]


def test_dequantizing_adds_the_entries_of_the_codebooks_given() -> None:
    codebooks = torch.randn(3, 8, 5)
    codes = torch.randint(8, (2, 2, 7))
    expected = codebooks[0][codes[:, 0]] + codebooks[1][codes[:, 1]]
    torch.testing.assert_close(dequantize(codes, codebooks), expected.transpose(1, 2))


def test_an_entry_quantizes_to_itself() -> None:
    codebook = torch.eye(6)[None]
    codes = torch.randint(6, (1, 1, 9))
    assert torch.equal(quantize(dequantize(codes, codebook), codebook), codes)
