"""The neural networks: pure modules that know nothing of requests, slots, HTTP or Ray."""
