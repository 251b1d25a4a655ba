"""Neural networks: pure modules that know nothing of requests, slots, HTTP, Ray or files."""
