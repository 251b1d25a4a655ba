"""The layout for oneDNN keeps the values."""

import torch

from serve_app.models.encodec.onednn import as_image


def test_an_image_is_one_row_in_channels_last_order() -> None:
    x = torch.randn(2, 6, 9)
    image = as_image(x)
    assert image.shape == (2, 6, 1, 9)
    assert image.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(image.squeeze(2), x)
