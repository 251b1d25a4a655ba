"""The service's rules without HTTP: routing, admission, limits, deadlines, retries, observation, finished tracks."""
