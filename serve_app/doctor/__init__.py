"""Checks of a machine: everything that the service needs to start."""

from serve_app.doctor.examination import examine
from serve_app.doctor.finding import Finding, Level

__all__ = ["Finding", "Level", "examine"]
