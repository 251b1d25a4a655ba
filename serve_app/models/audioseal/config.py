"""The architecture of AudioSeal's published networks."""

from serve_app.models.encodec.config import EncodecConfig

SAMPLE_RATE = 16_000  # Hz, at which both networks were trained
HOP_LENGTH = 320  # samples of one frame of latents
FRAME_RATE = SAMPLE_RATE // HOP_LENGTH
LATENT_SIZE = 128
MESSAGE_BITS = 16


def seanet_config(*, causal: bool) -> EncodecConfig:
    """Return the SEANet of both networks. causal: of the variant that was trained for streams.

    An EnCodec's quantizer is no part of it.
    """
    return EncodecConfig(
        sample_rate=SAMPLE_RATE,
        channels=1,
        num_quantizers=0,
        codebook_size=0,
        codebook_dim=LATENT_SIZE,
        num_filters=32,
        num_residual_layers=1,
        upsampling_ratios=(8, 5, 4, 2),
        causal=causal,
        pad_mode="constant",
    )
