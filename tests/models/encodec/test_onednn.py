"""Layouts for oneDNN keep the values, and without oneDNN nothing is converted."""

import pytest
import torch
import torch.nn.functional as F

from serve_app.models.encodec.onednn import as_image, as_operand

HAS_ONEDNN = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]


def test_an_image_is_one_row_in_channels_last_order() -> None:
    x = torch.randn(2, 6, 9)
    image = as_image(x)
    assert image.shape == (2, 6, 1, 9)
    assert image.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(image.squeeze(2), x)


@pytest.mark.skipif(not HAS_ONEDNN, reason="needs oneDNN")
def test_a_product_of_operands_equals_the_plain_one() -> None:
    x = torch.randn(7, 12)
    weight = torch.randn(5, 12)
    operand = as_operand(x)
    assert operand.layout == torch._mkldnn  # type: ignore[attr-defined]
    product = F.linear(operand, as_operand(weight)).to_dense()
    torch.testing.assert_close(product, x @ weight.T)


def test_without_onednn_an_operand_is_the_tensor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    x = torch.randn(3)
    assert as_operand(x) is x
