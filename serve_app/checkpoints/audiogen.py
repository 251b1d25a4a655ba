"""AudioGen (arXiv:2209.15352) told from MusicGen: the two have the same architecture."""

from serve_app.checkpoints.experiment_config import ExperimentConfig
from serve_app.types import Content

# Values of `solver` in an AudioGen's training configuration, the older name last.
_AUDIOGEN_SOLVERS = ("audiogen", "sound_lm")
_AUDIOGEN_RATE_HZ = 16_000
_AUDIOGEN_WINDOW_S = 10


def content_of(cfg: ExperimentConfig) -> Content:
    """Content of the tracks: audio of an AudioGen, else music.

    AudioCraft's training configuration names the solver. Without it an AudioGen is a model of the
    published one's sample rate and window.
    """
    solver = cfg.get("solver")
    if solver is not None:
        return "audio" if solver in _AUDIOGEN_SOLVERS else "music"
    window_s = cfg.get("dataset.segment_duration")
    is_published = (cfg.get("sample_rate"), window_s) == (_AUDIOGEN_RATE_HZ, _AUDIOGEN_WINDOW_S)
    return "audio" if is_published else "music"
