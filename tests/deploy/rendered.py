"""What `kubectl kustomize` makes of the folders of deploy/ and dashboards/."""

import functools
import json
import pathlib
import subprocess
import tempfile
import shutil

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
BASE = "deploy/base"
OVERLAYS = DEPLOY / "overlays"

# Folders that hold the StatefulSet.
WHOLE = [BASE] + [f"deploy/overlays/{name}" for name in ("ha", "demo", "cloudnative-pg", "no-native-sidecar")]
# Folders whose objects stand beside one of those.
BESIDE = [f"deploy/overlays/{name}" for name in ("ingress", "gateway", "monitoring")]
EVERYTHING = WHOLE + BESIDE

CONTAINERS = ("migrate", "relay", "kube-node-mgr")


def kubectl(*arguments, stdin=None):
    """Runs kubectl without a cluster and returns what it prints."""
    done = subprocess.run(["kubectl", *arguments], input=stdin, capture_output=True, text=True)
    if done.returncode:
        raise AssertionError(f"kubectl {' '.join(arguments)}: {done.stderr}")
    return done.stdout


@functools.cache
def text(folder):
    return kubectl("kustomize", str(ROOT / folder))


@functools.cache
def _objects(folder):
    return json.dumps([item for item in yaml.safe_load_all(text(folder)) if item])


def objects(folder):
    """Fresh copies: a test may change them."""
    return json.loads(_objects(folder))


def with_changed_file(folder, file, change):
    """The objects of a folder in a copy of the repository's manifests where one file is different."""
    with tempfile.TemporaryDirectory() as copy:
        for name in ("deploy", "dashboards"):
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, pathlib.Path(copy) / name)
        path = pathlib.Path(copy) / file
        before = path.read_text()
        after = change(before)
        assert before != after, "nothing was changed"
        path.write_text(after)
        out = kubectl("kustomize", str(pathlib.Path(copy) / folder))
        return [item for item in yaml.safe_load_all(out) if item]


def find(items, kind, name):
    found = [i for i in items if i["kind"] == kind and i["metadata"]["name"] == name]
    assert len(found) == 1, f"{len(found)} of {kind}/{name}"
    return found[0]


def stateful_set(folder_or_items):
    items = objects(folder_or_items) if isinstance(folder_or_items, str) else folder_or_items
    return find(items, "StatefulSet", "kube-node-mgr")


def pod(folder_or_items):
    return stateful_set(folder_or_items)["spec"]["template"]["spec"]


def containers(pod_spec):
    """All of them by name, whichever list they are in."""
    both = pod_spec.get("initContainers", []) + pod_spec["containers"]
    return {c["name"]: c for c in both}
