"""Durable jobs: requests that outlive their connection, in a database."""
