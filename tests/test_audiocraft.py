"""Test that AudioCraft runs with the locked versions, against its own pins."""

import torch

from tests.untraced import untraced


@untraced
def test_audiocraft_runs() -> None:
    import audiocraft
    from audiocraft.models.builders import get_debug_compression_model
    from audiocraft.models.lm import LMModel
    from audiocraft.modules.codebooks_patterns import DelayedPatternProvider
    from audiocraft.modules.conditioners import ConditionFuser, ConditioningProvider

    assert audiocraft.__version__ == "1.3.0"
    fuser = ConditionFuser({"cross": [], "prepend": [], "sum": [], "input_interpolate": []})
    lm = LMModel(
        DelayedPatternProvider(4), ConditioningProvider({}), fuser, n_q=4, card=400, dim=16,
        num_heads=2, num_layers=1, causal=True, memory_efficient=True,
    ).eval()  # fmt: skip
    codes = lm.generate(num_samples=2, max_gen_len=12)
    assert codes.shape == (2, 4, 12)
    with torch.no_grad():
        audio = get_debug_compression_model().eval().decode(codes)
    assert audio.shape == (2, 1, 12 * 1280)
    assert audio.isfinite().all()
