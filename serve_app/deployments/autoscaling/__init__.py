"""Autoscaling policies: models by the seconds of music that clients wait for, the ingress by its CPU.

Ray Serve pickles this package by value and calls it on the head node, so it imports the standard
library and itself alone.
"""

from serve_app.deployments.autoscaling.budget import BudgetPolicy
from serve_app.deployments.autoscaling.cpu import CpuPolicy
from serve_app.deployments.autoscaling.drain_time import DrainTimePolicy

__all__ = ["BudgetPolicy", "CpuPolicy", "DrainTimePolicy"]
