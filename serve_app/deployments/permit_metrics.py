"""Metrics of permits."""

from ray.serve.metrics import Counter, Gauge

from serve_app.gateway.permits.observer import LogPermitObserver, Source


class RayPermitObserver(LogPermitObserver):
    """Counts the decisions of one ingress replica."""

    def __init__(self) -> None:
        super().__init__()
        self._decisions = Counter(
            "musicgen_permits_total",
            "Decisions on limits and queues, by their source: lease, coordinator or local.",
            ("source",),
        )
        self._degraded = Gauge(
            "musicgen_coordination_degraded",
            "1 while the coordinator is out of reach, and limits hold for each ingress replica.",
        )

    def decided(self, source: Source) -> None:
        self._decisions.inc(1, {"source": source})

    def reached(self, *, is_reached: bool, reason: str = "") -> None:
        super().reached(is_reached=is_reached, reason=reason)
        self._degraded.set(0 if is_reached else 1)
