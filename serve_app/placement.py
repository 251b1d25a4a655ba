"""Placement of replicas on a cluster's nodes, and the reasons that rule it out.

Resources are Ray's own: `CPU`, `GPU`, `memory` in bytes, `accelerator_type:T4`, and custom ones, each with an amount.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

Resources = Mapping[str, float]

_ACCELERATOR = "accelerator_type:"
_INTERNAL = ("node:", "object_store_memory", "memory")  # of nodes; not shown
_TOLERANCE = 1e-4  # Ray's unit of a resource
_GIB = 2**30


@dataclass(frozen=True, slots=True)
class Demand:
    """The replicas of one deployment.

    resources: those of each replica; count: replicas that must run at the same time.
    """

    deployment: str
    resources: Resources
    count: int = 1


def obstacle(demand: Demand, nodes: Sequence[Resources]) -> str | None:
    """Explain why no node can ever run a replica; None where one can.

    nodes: the total resources of each node.
    """
    if any(not _missing(demand.resources, node) for node in nodes):
        return None
    cures = _cures(demand.resources, nodes)
    return (
        f"No node can run a replica of {demand.deployment}: it needs {describe(demand.resources)}. "
        f"{_describe_nodes(nodes)}. {' '.join(cures)}"
    )


def shortage(demands: Iterable[Demand], nodes: Sequence[Resources]) -> str | None:
    """Explain which resource all replicas together exceed; None where the nodes have enough."""
    needed: Counter[str] = Counter()
    for demand in demands:
        for name, amount in demand.resources.items():
            needed[name] += amount * demand.count  # type: ignore[assignment]
    for name, amount in needed.items():
        total = sum(node.get(name, 0.0) for node in nodes)
        if amount > total + _TOLERANCE and not name.startswith(_ACCELERATOR):
            return (
                f"The replicas need {describe({name: amount})} together. {_describe_nodes(nodes)}. "
                f"Lower num_replicas, min_replicas or {_option(name)}, or add a node."
            )
    return None


def describe(resources: Resources) -> str:
    """Format resources for people: `1 GPU of type T4 and 2 CPUs`."""
    parts = [
        _amount(name, amount)
        for name, amount in sorted(resources.items(), key=_place)
        if amount > 0 and not name.startswith(_ACCELERATOR)
    ]
    if kinds := _accelerators(resources):
        kind = f" of type {' and '.join(kinds)}"
        if parts and resources.get("GPU", 0) > 0:
            parts[0] += kind
        else:
            parts.insert(0, f"a node with a GPU{kind}")
    *others, last = parts or ["no resources"]
    return f"{', '.join(others)} and {last}" if others else last


def _place(item: tuple[str, float]) -> int:
    """Put GPUs before CPUs, and these before all others."""
    return {"GPU": 0, "CPU": 1}.get(item[0], 2)


def _amount(name: str, amount: float) -> str:
    if name == "memory":
        return f"{amount / _GIB:.3g} GiB of memory"
    if name in ("CPU", "GPU"):
        return f"{amount:g} {name}{'' if amount == 1 else 's'}"
    return f"{amount:g} of the resource '{name}'"


def _accelerators(resources: Resources) -> list[str]:
    names = (name for name in resources if name.startswith(_ACCELERATOR))
    return sorted(name.removeprefix(_ACCELERATOR) for name in names)


def _describe_nodes(nodes: Sequence[Resources]) -> str:
    """Format what the nodes have, equal nodes together."""
    if not nodes:
        return "The cluster has no node"
    kinds = Counter(_describe_node(node) for node in nodes)
    if len(nodes) == 1:
        return f"The only node has {next(iter(kinds))}"
    parts = [f"{count} with {kind}" for kind, count in kinds.most_common()]
    return f"The {len(nodes)} nodes are: {'; '.join(parts)}"


def _describe_node(node: Resources) -> str:
    shown = {name: amount for name, amount in node.items() if not name.startswith(_INTERNAL)}
    return describe(shown) + ("" if node.get("GPU", 0) > 0 else " and no GPU")


def _missing(resources: Resources, node: Resources) -> list[str]:
    return [name for name, amount in resources.items() if amount > node.get(name, 0.0) + _TOLERANCE]


def _cures(resources: Resources, nodes: Sequence[Resources]) -> list[str]:
    """List a remedy for each resource that no node has enough of."""
    absent = [name for name in resources if all(name in _missing(resources, n) for n in nodes)]
    if not absent:
        return ["Lower the model's ray_actor_options so that one node has all of them."]
    if "GPU" in absent and not any(node.get("GPU", 0) for node in nodes):
        return [
            "Add a node with such a GPU (where nvidia-smi fails, install the driver first), or "
            "use the configuration nano, which needs none."
        ]
    return [_cure(name, resources[name], nodes) for name in absent]


def _cure(name: str, amount: float, nodes: Sequence[Resources]) -> str:
    if name.startswith(_ACCELERATOR):
        there = sorted({kind for node in nodes for kind in _accelerators(node)})
        other = f"Set accelerator_type to {' or '.join(there)}" if there else "Remove it"
        return f"{other} in the model's options, or add such a node."
    most = max((node.get(name, 0.0) for node in nodes), default=0.0)
    if most == 0.0:
        return f"Start a node with --resources='{{\"{name}\": {amount:g}}}', or remove it from ray_actor_options."
    return f"Set {_option(name)} to at most {_bytes_or_number(name, most)}, or add a larger node."


def _option(name: str) -> str:
    options = {"CPU": "num_cpus", "GPU": "num_gpus"}
    return f"{options.get(name, name)} of ray_actor_options"


def _bytes_or_number(name: str, amount: float) -> str:
    return f"{amount:.0f} (bytes)" if name == "memory" else f"{amount:g}"
