"""Signed statements on the origin of files (C2PA): credentials, manifests, signatures."""
