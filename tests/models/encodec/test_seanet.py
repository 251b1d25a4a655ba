"""SEANet's activation, and the shapes and rates of encoder and decoder."""

import pytest
import torch
import torch.nn.functional as F

from serve_app.models.encodec.config import EncodecConfig
from serve_app.models.encodec.lstm import SkipLSTM
from serve_app.models.encodec.seanet import Elu, seanet_decoder, seanet_encoder


def test_elu_equals_pytorchs() -> None:
    x = torch.linspace(-20, 20, 1001)
    torch.testing.assert_close(Elu()(x), F.elu(x), atol=1e-7, rtol=0)


@pytest.mark.parametrize("num_lstm_layers", [0, 2])
@pytest.mark.parametrize("ratios", [(5, 4), (3,)])
def test_encoder_and_decoder_change_the_rate_by_the_hop_length(
    ratios: tuple[int, ...], num_lstm_layers: int
) -> None:
    config = EncodecConfig(8000, 2, 4, 16, 8, 4, 1, ratios, num_lstm_layers=num_lstm_layers)
    assert config.frame_rate == 8000 / config.hop_length
    x = torch.randn(1, 2, 6 * config.hop_length)
    for layers, shape in (
        (seanet_encoder(config), (1, 8, 6)),
        (seanet_decoder(config), (1, 2, 6 * config.hop_length)),
    ):
        for layer in layers:
            x = layer(x)[0] if isinstance(layer, SkipLSTM) else layer(x)
        assert x.shape == shape
