"""Memory of a service's processes in the course of a benchmark."""

from dataclasses import dataclass, field

import psutil

from serve_app.launcher import Service

ROLES = {"Ingress": "ingress", "MusicGen": "replica", "ProxyActor": "proxy"}  # by parts of names
MIB = 2**20


@dataclass
class Memory:
    """Samples of the memory of the service's processes in MiB, by their role."""

    service: Service
    samples: dict[str, list[float]] = field(default_factory=dict)

    def sample(self) -> None:
        for role, process in self._processes().items():
            self.samples.setdefault(role, []).append(process.memory_info().rss / MIB)

    def _processes(self) -> dict[str, psutil.Process]:
        named = [(process.name(), process) for process in self.service.processes()]
        return {
            role: process
            for name, process in named
            for part, role in ROLES.items()
            if name.startswith("ray::") and part in name
        }

    def columns(self) -> dict[str, float]:
        """Memory before, in the middle, and at the end."""
        return {
            f"{role} MiB {when}": round(samples[index])
            for role, samples in self.samples.items()
            for when, index in (("before", 0), ("middle", len(samples) // 2), ("end", -1))
        }
