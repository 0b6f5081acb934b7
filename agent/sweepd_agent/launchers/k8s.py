"""Starts agents on Kubernetes: an Indexed Job, as manifests that `kubectl apply -k` takes."""

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from sweepd.errors import LaunchError
from sweepd_agent.launchers import AgentStatus, Plan
from sweepd_agent.launchers.tools import AGENT, is_loopback, own_name, run_tool
from sweepd_agent.options import to_arguments

__all__ = ["Kubernetes", "manifests"]

_GRACE_S = 60
#: An agent that is told to end leaves in order, with 0, and for a Job a pod that ends with 0 has
#: done its part: none takes its place. So the pod ends with another code once it has been told.
_TOLD = 143
_RUN = f"""\
told=
python {" ".join(AGENT)} "$@" &
agent=$!
trap 'told={_TOLD}; kill -TERM "$agent"' TERM
wait "$agent"
code=$?
while kill -0 "$agent" 2>/dev/null; do  # a signal ends the waiting, not yet the agent
  wait "$agent"
  code=$?
done
exit "${{told:-$code}}"
"""
_DISRUPTED = {"type": "DisruptionTarget", "status": "True"}
#: Of a job's name, so that its pods' own, which end in an index and five letters, are no longer
#: than a name may be.
_LONGEST = 52
_SECRET = "wandb"


class Kubernetes:
    """A `Launcher` for Kubernetes: one Indexed Job, each of whose pods is an agent.

    Its files are written into the launch's folder. With `apply=true` they are applied by kubectl;
    else that is for you to do, by the command that is printed. The key is not among them: pods take
    it from a Secret. A pod that is preempted, drained or deleted is started again and counts as no
    failure.
    """

    settings: Mapping[str, str] = {
        "image": "the pods' image (sweepd-agent:torch)",
        "namespace": "where the job is made (default)",
        "gpus": "GPUs of each pod, nvidia.com/gpu (one trial's; 0 with --gpus none)",
        "cpu": "its request of processors (2)",
        "memory": "its request and limit of memory (8Gi)",
        "secret": "the Secret whose key WANDB_API_KEY is the API key (wandb)",
        "apply": "true: apply them with kubectl (false)",
    }

    def start(self, plan: Plan) -> dict[str, object]:
        """Write the manifests, and apply them if that was asked for."""
        if is_loopback(plan.environ.get("WANDB_BASE_URL")):
            raise LaunchError(
                f"pods cannot reach {plan.environ['WANDB_BASE_URL']}; serve at an address that the "
                "cluster knows, and name it with --server"
            )
        name = _job_name(plan)
        for file, content in manifests(plan, name).items():
            text = yaml.safe_dump(content, sort_keys=False)
            (plan.folder / file).write_text(text)
        namespace = plan.settings.get("namespace", "default")
        is_applied = plan.settings.get("apply", "false").lower() == "true"
        if is_applied:
            run_tool(["kubectl", "apply", "--kustomize", str(plan.folder)])
        return {
            "job": name,
            "namespace": namespace,
            "n_agents": plan.n_agents,
            "told": None if is_applied else f"kubectl apply --kustomize {plan.folder}",
        }

    def status(self, folder: Path, kept: Mapping[str, object]) -> Sequence[AgentStatus]:
        """Return how the pods are, as kubectl tells."""
        if shutil.which("kubectl") is None:
            raise LaunchError("kubectl is not installed here: it tells how the pods are")
        pods = json.loads(run_tool([*_kubectl(kept), "get", "pods", *_chosen(kept), "-o", "json"]))
        newest: dict[int, dict[str, Any]] = {}
        for pod in sorted(pods["items"], key=lambda one: one["metadata"]["creationTimestamp"]):
            labels = pod["metadata"]["labels"]
            newest[int(labels["batch.kubernetes.io/job-completion-index"])] = pod
        count = kept["n_agents"]
        assert isinstance(count, int), "as start() returned it"
        return [_status(number, newest.get(number)) for number in range(count)]

    def logs(self, folder: Path, kept: Mapping[str, object], name: str) -> str:
        """Return what a pod has printed so far."""
        index = name.rpartition("-")[2]
        chosen = f"job-name={kept['job']},batch.kubernetes.io/job-completion-index={index}"
        return run_tool([*_kubectl(kept), "logs", "--selector", chosen, "--tail=-1"])

    def stop(self, folder: Path, kept: Mapping[str, object]) -> None:
        """Delete the job; its pods end in order, as they do when a node is drained."""
        job = f"job/{kept['job']}"
        run_tool([*_kubectl(kept), "delete", job, "--ignore-not-found", "--cascade=foreground"])


def manifests(plan: Plan, name: str) -> dict[str, dict[str, Any]]:
    """Return the files of a launch: a job of that name, a budget of disruptions, what joins them.

    They are by the names that they are written under.
    """
    given = plan.settings
    labels = {"app.kubernetes.io/name": "sweepd-agent", "sweepd/launch": name}
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "completions": plan.n_agents,
            "parallelism": plan.n_agents,
            "completionMode": "Indexed",
            "backoffLimitPerIndex": 3,
            "maxFailedIndexes": plan.n_agents,
            "podReplacementPolicy": "Failed",
            # A pod that its node, a higher priority or a person took away is no failure of its own.
            "podFailurePolicy": {
                "rules": [
                    {"action": "Ignore", "onPodConditions": [_DISRUPTED]},
                    {"action": "Ignore", "onExitCodes": {"operator": "In", "values": [_TOLD]}},
                ]
            },
            "template": {"metadata": {"labels": dict(labels)}, "spec": _pod(plan)},
        },
    }
    budget = {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": name, "labels": dict(labels)},
        # A Job has no scale subresource: with maxUnavailable, or a percentage, no pod of its could
        # ever be evicted, and no node of theirs drained.
        "spec": {
            "minAvailable": plan.n_agents // 2,
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": {"sweepd/launch": name}},
        },
    }
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": given.get("namespace", "default"),
        "resources": ["job.yaml", "budget.yaml"],
    }
    return {"job.yaml": job, "budget.yaml": budget, "kustomization.yaml": kustomization}


def _pod(plan: Plan) -> dict[str, Any]:
    given = plan.settings
    asked = int(given.get("gpus", plan.options.gpus_per_trial))
    n_gpus = 0 if plan.options.gpus == "none" else asked
    gpus = {"nvidia.com/gpu": n_gpus} if n_gpus else {}
    memory = given.get("memory", "8Gi")
    secret = {"name": given.get("secret", _SECRET), "key": "WANDB_API_KEY"}
    return {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": _GRACE_S,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 10001, "fsGroup": 10001},
        "containers": [
            {
                "name": "agent",
                "image": given.get("image", "sweepd-agent:torch"),
                "command": ["sh", "-c", _RUN, "sweepd_agent"],
                "args": to_arguments(replace(plan.options, folder=None)),
                "env": [
                    {"name": "WANDB_BASE_URL", "value": plan.environ.get("WANDB_BASE_URL", "")},
                    {"name": "WANDB_API_KEY", "valueFrom": {"secretKeyRef": secret}},
                    {"name": "WANDB_DIR", "value": "/tmp"},
                ],
                "resources": {
                    "requests": {"cpu": given.get("cpu", "2"), "memory": memory, **gpus},
                    "limits": {"memory": memory, **gpus},
                },
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "capabilities": {"drop": ["ALL"]},
                },
            }
        ],
    }


def _job_name(plan: Plan) -> str:
    """Return a name that Kubernetes takes: small letters, digits, dashes, at most 52 of them.

    What makes it this launch's own is at its end, and is kept.
    """
    name = re.sub(r"[^a-z0-9]+", "-", own_name(plan).lower()).strip("-")
    stem, _, token = name.rpartition("-")
    return f"{stem[: _LONGEST - 1 - len(token)].strip('-')}-{token}"


def _kubectl(kept: Mapping[str, object]) -> list[str]:
    return ["kubectl", "--namespace", str(kept["namespace"])]


def _chosen(kept: Mapping[str, object]) -> list[str]:
    return ["--selector", f"job-name={kept['job']}"]


def _status(number: int, pod: Mapping[str, Any] | None) -> AgentStatus:
    name = f"agent-{number}"
    if pod is None:
        return AgentStatus(name, "waiting")
    phase = pod["status"]["phase"]
    if phase in ("Succeeded", "Failed"):
        ended = [c.get("state", {}) for c in pod["status"].get("containerStatuses", [])]
        codes = [state["terminated"]["exitCode"] for state in ended if "terminated" in state]
        return AgentStatus(name, "ended", codes[0] if codes else None)
    return AgentStatus(name, {"Running": "running", "Pending": "waiting"}.get(phase, "lost"))
