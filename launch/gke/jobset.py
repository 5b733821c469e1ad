"""The JobSet of a run on GKE: jobset.yaml and what it leaves open, written to stdout.

python launch/gke/jobset.py --name lm --image IMAGE --share 10.0.0.2:/vol1 --topology v5p:2x2x4 -- train --config …
python launch/gke/jobset.py --name lm --image IMAGE --share 10.0.0.2:/vol1 --gpus h100:8 --nodes 4 -- train --config …

A process for each host. On TPUs GKE tells JAX who the others are; on GPUs the manifest does.
"""

import argparse
import sys
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))
from accelerators import gpus_of, slice_of  # noqa: E402

TEMPLATE = Path(__file__).with_name("jobset.yaml")
PORT = 8482  # of process 0, where the others meet


def manifest(
    *,
    name: str,
    image: str,
    share: str,
    command: list[str],
    topology: str = "",
    slices: int = 1,
    gpus: str = "",
    nodes: int = 0,
    restarts: int = 3,
    grace: int = 120,
    spot: bool = False,
    queue: str = "",
) -> dict:
    """The manifest as Kubernetes reads it.

    Args:
        name: of the JobSet; Kubernetes adds to it, and allows 63 letters.
        share: `SERVER:/PATH` of an NFS share, mounted as /PATH.
        command: arguments of `videopoet`.
        topology: a TPU slice such as `v5p:2x2x4`, of which there are `slices`; or else
        gpus: those of a host, such as `h100:8`, of which there are `nodes`.
        restarts: how often a run that failed starts again; one that was preempted does so always.
        grace: seconds from SIGTERM to SIGKILL.
        queue: a LocalQueue of Kueue.

    Raises:
        ValueError: options that contradict each other, or a topology or GPUs that there are not.
    """
    if bool(topology) == bool(gpus):
        raise ValueError(f"topology {topology!r}, gpus {gpus!r}: one of the two is needed; give --topology or --gpus.")
    if gpus and slices != 1:
        raise ValueError(f"slices {slices}: of TPUs; leave it, or give --topology in place of --gpus.")
    if bool(gpus) != bool(nodes):
        raise ValueError(f"nodes {nodes}: those of --gpus, 1 or more; the hosts of a TPU slice follow from --topology.")
    result = yaml.safe_load(TEMPLATE.read_text())
    result["metadata"]["name"] = name
    result["spec"]["failurePolicy"]["maxRestarts"] = restarts
    job = result["spec"]["replicatedJobs"][0]
    pod = job["template"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    container.update(image=image, args=[word.replace("$(", "$$(") for word in command])  # no variables of Kubernetes's
    pod["terminationGracePeriodSeconds"] = grace
    if topology:
        job["replicas"] = slices
        hosts = _use_tpus(result, pod, container, topology)
    else:
        hosts = _use_gpus(pod, container, gpus, nodes, name)
    job["template"]["spec"].update(parallelism=hosts, completions=hosts)
    server, _, path = share.partition(":")
    pod["volumes"].append({"name": "share", "nfs": {"server": server, "path": path}})
    container["volumeMounts"].append({"name": "share", "mountPath": path})
    if spot:
        pod["nodeSelector"]["cloud.google.com/gke-spot"] = "true"
        pod["tolerations"].append({"key": "cloud.google.com/gke-spot", "operator": "Equal", "value": "true"})
    if queue:
        result["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] = queue
    return _without_empty(result)


def _use_tpus(result: dict, pod: dict, container: dict, topology: str) -> int:
    """A slice for each job, in a node pool of its own; returns its hosts."""
    asked = slice_of(topology)
    result["metadata"]["annotations"]["alpha.jobset.sigs.k8s.io/exclusive-topology"] = "cloud.google.com/gke-nodepool"
    pod["nodeSelector"]["cloud.google.com/gke-tpu-accelerator"] = asked.generation.gke
    pod["nodeSelector"]["cloud.google.com/gke-tpu-topology"] = asked.topology
    pod["tolerations"].append({"key": "google.com/tpu", "operator": "Exists"})
    container["resources"]["limits"]["google.com/tpu"] = asked.chips_per_host
    return asked.hosts


def _use_gpus(pod: dict, container: dict, gpus: str, nodes: int, name: str) -> int:
    """All GPUs of a host for each process, and where process 0 is."""
    label, each = gpus_of(gpus)
    pod["nodeSelector"]["cloud.google.com/gke-accelerator"] = label
    pod["tolerations"].append({"key": "nvidia.com/gpu", "operator": "Exists"})
    container["resources"]["limits"]["nvidia.com/gpu"] = each
    index = {"fieldRef": {"fieldPath": "metadata.annotations['batch.kubernetes.io/job-completion-index']"}}
    container["env"] += [
        {"name": "JAX_COORDINATOR_ADDRESS", "value": f"{name}-workers-0-0.{name}:{PORT}"},
        {"name": "JAX_NUM_PROCESSES", "value": str(nodes)},
        {"name": "JAX_PROCESS_ID", "valueFrom": index},
    ]
    return nodes


def _without_empty(value):
    """`{"a": {}, "b": 1} → {"b": 1}`: what stayed open in the template."""
    if isinstance(value, dict):
        return {key: _without_empty(inner) for key, inner in value.items() if inner not in ({}, [])}
    return [_without_empty(inner) for inner in value] if isinstance(value, list) else value


def main(arguments: list[str]) -> None:
    """Writes the manifest of a command line; a mistake in it is one line on stderr and exit code 2."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for required in ("--name", "--image", "--share"):
        parser.add_argument(required, required=True)
    for text in ("--topology", "--gpus", "--queue"):
        parser.add_argument(text, default="")
    for number, default in (("--slices", 1), ("--nodes", 0), ("--restarts", 3), ("--grace", 120)):
        parser.add_argument(number, type=int, default=default)
    parser.add_argument("--spot", action="store_true")
    parser.add_argument("command", nargs="+", help="arguments of videopoet, behind --")
    try:
        made = manifest(**vars(parser.parse_args(arguments)))
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    yaml.safe_dump(made, sys.stdout, sort_keys=False, width=200, allow_unicode=True)


if __name__ == "__main__":
    main(sys.argv[1:])
