"""The JobSet's manifest: what its API takes, what runs where, and what becomes of a run that is preempted."""

import pytest

from videopoet_jax.training.signals import STOPPED

from jobset import manifest  # isort: skip

EXAMPLES = (
    dict(topology="v5p:2x2x4", slices=2, spot=True, queue="lab"),
    dict(gpus="h100:8", nodes=4),
)


def example(**options):
    """A manifest with these options."""
    return manifest(name="lm", image="image", share="10.0.0.2:/vol1", command=["train"], **options)


def parts(**options):
    """The JobSet, its job, its pod, its container."""
    whole = example(**options)
    (job,) = whole["spec"]["replicatedJobs"]
    pod = job["template"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    return whole, job, pod, container


@pytest.mark.parametrize("options", EXAMPLES)
def test_the_apis_of_jobset_and_kubernetes_know_all_of_it(options):
    """By Kubeflow's classes, which their own schemas are made into: a field that has no place there is lost."""
    models = pytest.importorskip("kubeflow_trainer_api.models")

    def read(made):
        return models.JobsetV1alpha2JobSet.from_dict(made).to_dict()

    made = example(**options)
    assert (made["apiVersion"], made["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    assert read(made) == made
    pod = made["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
    for part, field, other in ((made["spec"]["failurePolicy"], "maxRestarts", "maxRestart"),
                               (pod, "hostNetwork", "hostnetwork")):  # fmt: skip
        part[other] = part.pop(field)
        assert read(made) != made
        part[field] = part.pop(other)
    pod["terminationGracePeriodSeconds"] = "long"
    with pytest.raises(ValueError, match="terminationGracePeriodSeconds"):
        read(made)


def test_a_slice_is_a_job_whose_hosts_have_four_chips_each():
    whole, job, pod, container = parts(topology="v5p:2x2x4", slices=3)
    spec = job["template"]["spec"]
    assert (job["replicas"], spec["parallelism"], spec["completions"]) == (3, 4, 4)
    assert pod["nodeSelector"] == {
        "cloud.google.com/gke-tpu-accelerator": "tpu-v5p-slice",
        "cloud.google.com/gke-tpu-topology": "2x2x4",
    }
    assert container["resources"] == {"limits": {"google.com/tpu": 4}}
    assert "env" not in container  # GKE's own
    assert whole["metadata"]["annotations"] == {
        "alpha.jobset.sigs.k8s.io/exclusive-topology": "cloud.google.com/gke-nodepool"
    }


def test_processes_on_gpus_are_told_of_each_other():
    _, job, pod, container = parts(gpus="h100:8", nodes=4)
    assert (job["replicas"], job["template"]["spec"]["parallelism"]) == (1, 4)
    assert container["resources"] == {"limits": {"nvidia.com/gpu": 8}}
    env = {
        entry["name"]: entry.get("value") or entry["valueFrom"]["fieldRef"]["fieldPath"] for entry in container["env"]
    }
    assert env == {
        "JAX_COORDINATOR_ADDRESS": "lm-workers-0-0.lm:8482",  # NAME-JOB-0-0.NAME
        "JAX_NUM_PROCESSES": "4",
        "JAX_PROCESS_ID": "metadata.annotations['batch.kubernetes.io/job-completion-index']",
    }


def test_what_is_preempted_goes_on_and_what_fails_does_so_a_few_times():
    whole, job, pod, container = parts(topology="v6e:4x4", restarts=5, grace=90)
    policy = whole["spec"]["failurePolicy"]
    assert policy["maxRestarts"] == 5
    assert [(rule["action"], rule["onJobFailureReasons"]) for rule in policy["rules"]] == [
        ("RestartJobSetAndIgnoreMaxRestarts", ["PodFailurePolicy"])
    ]
    stopped, disrupted = job["template"]["spec"]["podFailurePolicy"]["rules"]
    assert stopped["onExitCodes"] == {"containerName": container["name"], "operator": "In", "values": [STOPPED]}
    assert disrupted["onPodConditions"][0]["type"] == "DisruptionTarget"
    assert {stopped["action"], disrupted["action"]} == {"FailJob"}
    assert (job["template"]["spec"]["backoffLimit"], pod["restartPolicy"]) == (0, "Never")
    assert pod["terminationGracePeriodSeconds"] == 90


def test_the_share_is_mounted_and_the_command_stays_as_it_is():
    command = ["train", "--set", "data.root=/vol1/a b $(HOME)"]
    made = manifest(name="lm", image="i", share="10.0.0.2:/vol1", command=command, topology="v6e:4x4", spot=True)
    pod = made["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["args"] == [*command[:2], "data.root=/vol1/a b $$(HOME)"]  # Kubernetes makes $( of it
    (nfs,) = [volume["nfs"] for volume in pod["volumes"] if volume["name"] == "share"]
    assert nfs == {"server": "10.0.0.2", "path": "/vol1"}
    assert {"name": "share", "mountPath": "/vol1"} in container["volumeMounts"]
    assert pod["nodeSelector"]["cloud.google.com/gke-spot"] == "true"


@pytest.mark.parametrize(
    "options, words",
    [
        ({}, "one of the two is needed"),
        ({"topology": "v6e:4x4", "gpus": "h100:8", "nodes": 1}, "one of the two is needed"),
        ({"topology": "v6e:4x4", "nodes": 4}, "the hosts of a TPU slice follow from --topology"),
        ({"gpus": "h100:8"}, "nodes 0: those of --gpus, 1 or more"),
        ({"gpus": "h100:8", "nodes": 1, "slices": 2}, "slices 2: of TPUs"),
        ({"topology": "v6e:4x5"}, "not one that v6e has"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options, words):
    with pytest.raises(ValueError) as error:
        example(**options)
    assert words in str(error.value)
