"""The detector beside the service: one process, which yields the CPU to all else."""

import logging
from pathlib import Path

from serve_app.audio.worker_pool import WorkerPool
from serve_app.checkpoints.watermark_file import Network, read_facts
from serve_app.config.watermark import WatermarkConfig
from serve_app.errors import CheckpointError, ConfigError, ServeAppError
from serve_app.provenance_report import WatermarkReport
from serve_app.watermark.detection import MOST_S, Samples

logger = logging.getLogger(__name__)

_YIELDING = 19  # niceness: the CPU goes to everyone else first
_CPU_S = 30.0
_CPU_PER_S = 1.0  # of audio: several times what detection takes


class DetectorProcess:
    """Detects the watermark in files of samples, one after the other.

    The process begins with the first file, and is replaced when it ends.
    """

    def __init__(self, file: Path, threshold: float) -> None:
        self._pool = WorkerPool(1, _YIELDING, "serve_app.watermark.worker", (str(file),))
        self._threshold = threshold

    @classmethod
    def of(cls, config: WatermarkConfig) -> "DetectorProcess | None":
        """Make the configured detector; None: none is. Raises ConfigError for its file."""
        if config.detector_file is None:
            return None
        file = Path(config.detector_file).expanduser().absolute()
        try:
            read_facts(file, Network.DETECTOR)
        except CheckpointError as error:
            raise ConfigError(f"provenance.watermark.detector_file: {error.message}") from error
        return cls(file, config.detection_threshold)

    async def detect(self, samples: Samples, duration_s: float) -> WatermarkReport:
        """Look for the watermark. Cancelling ends the process.

        Raises InvalidAudio for samples that ended the process, and ServeAppError if the detector
        cannot be loaded.
        """
        job = {
            "path": str(samples.path),
            "channels": samples.channels,
            "threshold": self._threshold,
            "max_cpu_s": _CPU_S + _CPU_PER_S * min(duration_s, MOST_S),
        }
        answer, _ = await self._pool.run(job, b"")
        if "failure" in answer:
            logger.error("The watermark's detector cannot be loaded: %s", answer["failure"])
            raise ServeAppError(
                "The watermark's detector cannot be loaded; the log has the reason."
            )
        return WatermarkReport.model_validate(answer)
