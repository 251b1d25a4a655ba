"""Rules of the service without HTTP: routing, admission, limits, deadlines, retries, keys."""
