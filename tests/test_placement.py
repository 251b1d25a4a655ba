"""Placement of replicas: the reason and the cure where no node can run one."""

import pytest

from serve_app.placement import Demand, Resources, describe, obstacle, shortage

HEAD = {
    "CPU": 2.0,
    "memory": 8e9,
    "object_store_memory": 2e9,
    "node:127.0.0.1": 1.0,
    "node:__internal_head__": 1.0,
}
A10G = {"CPU": 8.0, "GPU": 1.0, "accelerator_type:A10G": 1.0, "memory": 3e10, "node:10.0.0.2": 1.0}


def needs(**amounts: float) -> Demand:
    names = {"T4": "accelerator_type:T4", "A10G": "accelerator_type:A10G"}
    return Demand("model 'x'", {names.get(name, name): amount for name, amount in amounts.items()})


@pytest.mark.parametrize(
    ("resources", "text"),
    [
        ({"CPU": 1.0}, "1 CPU"),
        ({"CPU": 0.1, "GPU": 2.0}, "2 GPUs and 0.1 CPUs"),
        ({"CPU": 2.0, "GPU": 1.0, "accelerator_type:T4": 0.001}, "1 GPU of type T4 and 2 CPUs"),
        ({"CPU": 1.0, "memory": 2.0**31}, "1 CPU and 2 GiB of memory"),
        ({"CPU": 1.0, "GPU": 1.0, "disk": 2.0}, "1 GPU, 1 CPU and 2 of the resource 'disk'"),
        ({"accelerator_type:T4": 0.001}, "a node with a GPU of type T4"),
        ({}, "no resources"),
    ],
)
def test_resources_are_described(resources: Resources, text: str) -> None:
    assert describe(resources) == text


@pytest.mark.parametrize(
    ("demand", "nodes"),
    [
        (needs(CPU=2.0), [HEAD]),
        (needs(CPU=1.0, GPU=1.0, A10G=0.001), [HEAD, A10G]),
        (needs(CPU=0.1), [A10G]),
        (needs(), [HEAD]),
    ],
)
def test_what_a_node_has_enough_of_is_no_obstacle(demand: Demand, nodes: list[Resources]) -> None:
    assert obstacle(demand, nodes) is None


@pytest.mark.parametrize(
    ("demand", "nodes", "reason"),
    [
        (
            needs(CPU=1.0, GPU=1.0, T4=0.001),
            [HEAD],
            "No node can run a replica of model 'x': it needs 1 GPU of type T4 and 1 CPU. The only "
            "node has 2 CPUs and no GPU. Add a node with such a GPU (where nvidia-smi fails, install "
            "the driver first), or use the configuration nano, which needs none.",
        ),
        (
            needs(CPU=1.0, GPU=1.0, T4=0.001),
            [HEAD, A10G, HEAD],
            "No node can run a replica of model 'x': it needs 1 GPU of type T4 and 1 CPU. The 3 nodes "
            "are: 2 with 2 CPUs and no GPU; 1 with 1 GPU of type A10G and 8 CPUs. Set accelerator_type "
            "to A10G in the model's options, or add such a node.",
        ),
        (
            needs(CPU=64.0),
            [HEAD],
            "No node can run a replica of model 'x': it needs 64 CPUs. The only node has 2 CPUs and no "
            "GPU. Set num_cpus of ray_actor_options to at most 2, or add a larger node.",
        ),
        (
            needs(CPU=1.0, memory=1e12),
            [HEAD],
            "No node can run a replica of model 'x': it needs 1 CPU and 931 GiB of memory. The only "
            "node has 2 CPUs and no GPU. Set memory of ray_actor_options to at most 8000000000 "
            "(bytes), or add a larger node.",
        ),
        (
            needs(special=1.0),
            [HEAD],
            "No node can run a replica of model 'x': it needs 1 of the resource 'special'. The only "
            "node has 2 CPUs and no GPU. Start a node with --resources='{\"special\": 1}', or remove "
            "it from ray_actor_options.",
        ),
        (
            needs(CPU=1.0, special=1.0),
            [HEAD, {"special": 1.0}],
            "No node can run a replica of model 'x': it needs 1 CPU and 1 of the resource 'special'. "
            "The 2 nodes are: 1 with 2 CPUs and no GPU; 1 with 1 of the resource 'special' and no GPU. "
            "Lower the model's ray_actor_options so that one node has all of them.",
        ),
        (
            needs(CPU=1.0),
            [],
            "No node can run a replica of model 'x': it needs 1 CPU. The cluster has no node. Start a "
            "node with --resources='{\"CPU\": 1}', or remove it from ray_actor_options.",
        ),
    ],
    ids=["no GPU", "other GPU", "CPUs", "memory", "custom", "not together", "no node"],
)
def test_an_obstacle_names_need_nodes_and_cure(
    demand: Demand, nodes: list[Resources], reason: str
) -> None:
    assert obstacle(demand, nodes) == reason


def test_a_gpu_type_that_the_nodes_gpus_do_not_tell_is_removed() -> None:
    reason = obstacle(needs(GPU=1.0, T4=0.001), [{"GPU": 1.0, "CPU": 4.0}])
    assert reason is not None
    assert reason.endswith("Remove it in the model's options, or add such a node.")


def test_replicas_that_exceed_the_nodes_together_are_a_shortage() -> None:
    ingress = Demand("Ingress", {"CPU": 0.1})
    model = Demand("MusicGen:nano", {"CPU": 1.0}, count=5)
    assert shortage([ingress, Demand("MusicGen:nano", {"CPU": 1.0})], [HEAD]) is None
    assert shortage([ingress, model], [HEAD, A10G]) is None
    assert shortage([ingress, model], [HEAD]) == (
        "The replicas need 5.1 CPUs together. The only node has 2 CPUs and no GPU. Lower "
        "num_replicas, min_replicas or num_cpus of ray_actor_options, or add a node."
    )


def test_parts_of_a_resource_add_up_without_rounding_errors() -> None:
    demands = [Demand("x", {"CPU": 0.1}, count=20)]
    assert shortage(demands, [HEAD]) is None
