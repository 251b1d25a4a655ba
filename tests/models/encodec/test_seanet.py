"""SEANet's activation, and the shapes and rates of encoder and decoder."""

import pytest
import torch
import torch.nn.functional as F

from serve_app.models.encodec.config import EncodecConfig
from serve_app.models.encodec.conv import Conv1d, ConvTranspose1d
from serve_app.models.encodec.lstm import SkipLSTM
from serve_app.models.encodec.model import Encodec
from serve_app.models.encodec.rvq import dequantize
from serve_app.models.encodec.seanet import Elu, ResidualBlock, seanet_decoder, seanet_encoder
from serve_app.models.encodec.streaming import DecoderState


def test_elu_equals_pytorchs() -> None:
    x = torch.linspace(-20, 20, 1001)
    torch.testing.assert_close(Elu()(x), F.elu(x), atol=1e-7, rtol=0)


@pytest.mark.parametrize("pad_mode", ["reflect", "constant"])
@pytest.mark.parametrize("length", [1, 2, 700])
def test_a_residual_block_on_kernels_equals_the_plain_one(length: int, pad_mode: str) -> None:
    few, many = (
        EncodecConfig(8000, 2, 4, 16, 8, filters, 1, (2,), pad_mode=pad_mode) for filters in (4, 64)
    )
    plain = ResidualBlock(few, 64, 1).requires_grad_(False)
    block = ResidualBlock(many, 64, 1).requires_grad_(False)
    block.load_state_dict(plain.state_dict())
    x = torch.randn(2, 64, length)
    assert plain._kernels(x) is None
    assert block._kernels(x) is not None
    torch.testing.assert_close(block(x), plain(x), atol=1e-5, rtol=0)


def test_a_shortcut_or_dilation_keeps_pytorchs_layers() -> None:
    config = EncodecConfig(8000, 2, 4, 16, 8, 64, 1, (2,), conv_shortcut=True)
    x = torch.randn(1, 64, 9)
    assert ResidualBlock(config, 64, 1)._kernels(x) is None
    plain = EncodecConfig(8000, 2, 4, 16, 8, 64, 1, (2,))
    assert ResidualBlock(plain, 64, 2)._kernels(x) is None


def test_a_large_decoder_in_chunks_equals_pytorchs_layers() -> None:
    config = EncodecConfig(8000, 1, 4, 16, 32, 64, 1, (4, 2))
    codec = Encodec(config).requires_grad_(False)
    torch.nn.init.normal_(codec.codebooks)
    codes = torch.randint(16, (2, 4, 30))
    state = DecoderState()
    chunks = [codec.decode_chunk(codes[..., :13], state, False)]
    chunks.append(codec.decode_chunk(codes[..., 13:], state, True))
    x = dequantize(codes, codec.codebooks.view(4, 16, 32))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Conv1d, "kernel", None)
        patch.setattr(ConvTranspose1d, "kernel", None)
        for layer in codec.decoder:
            x = layer(x)[0] if isinstance(layer, SkipLSTM) else layer(x)
    torch.testing.assert_close(torch.cat(chunks, dim=-1), x, atol=1e-5, rtol=0)


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
