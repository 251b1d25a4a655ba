"""Residents of a replica, told to Serve: a request for one goes to a replica that holds it.

The request names its fine-tune by `multiplexed_model_id` of its handle. Serve's own
`serve.multiplexed` would tell Serve as well, but it evicts models that running requests need. Ray
Serve 2.60 names no public way to tell it: the private names are here alone, and tests/service holds
them.
"""

import contextlib

from ray import serve
from ray.serve._private.common import RequestRoutingInfo
from ray.serve.context import _get_global_client
from ray.serve.exceptions import RayServeException


def announce(model_ids: list[str]) -> None:
    """Tell Serve the fine-tunes that this replica holds or loads. No effect outside Serve."""
    with contextlib.suppress(RayServeException):
        replica_id = serve.get_replica_context().replica_id
        info = RequestRoutingInfo(replica_id=replica_id, multiplexed_model_ids=model_ids)
        _get_global_client().record_request_routing_info(info)
