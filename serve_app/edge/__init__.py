"""HAProxy in front of Serve's HTTP proxy: limits, TLS, and errors of its own."""
