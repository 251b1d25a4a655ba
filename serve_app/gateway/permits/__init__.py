"""Permits: admission and limits that hold for all ingress replicas together."""
