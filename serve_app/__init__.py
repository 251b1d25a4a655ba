"""MusicGen as a service: a Ray Serve application with a continuous-batching engine."""
