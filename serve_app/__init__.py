"""MusicGen as a service: a Ray Serve application with a continuous-batching engine."""

__version__ = "0.2.0"
