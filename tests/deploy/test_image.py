"""The Dockerfile: hadolint's rules, and what it shares with the manifests. The tree that it makes is tried
out by tests/tests/deploy/image.rs."""

import pathlib
import re
import subprocess
import sys
import tomllib
import unittest

import rendered

DOCKERFILE = rendered.DEPLOY / "Dockerfile"


class Image(unittest.TestCase):
    def test_hadolint_has_no_complaints(self):
        hadolint = pathlib.Path(sys.executable).parent / "hadolint"
        done = subprocess.run([hadolint, DOCKERFILE], capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))

    def test_user_and_ports_are_those_of_the_pods(self):
        lines = [line.split() for line in DOCKERFILE.read_text().splitlines()]
        [user] = [words[1] for words in lines if words[:1] == ["USER"]]
        [ports] = [words[1:] for words in lines if words[:1] == ["EXPOSE"]]
        for folder in rendered.WHOLE:
            pod = rendered.pod(folder)
            context = pod["securityContext"]
            self.assertEqual(user, f"{context['runAsUser']}:{context['runAsGroup']}", folder)
            open_ports = {p["containerPort"] for c in rendered.containers(pod).values() for p in c.get("ports", [])}
            self.assertEqual({int(port) for port in ports}, open_ports, folder)

    def test_labels_say_what_it_is_and_of_which_build(self):
        labels = dict(re.findall(r'org\.opencontainers\.image\.(\w+)="([^"]*)"', DOCKERFILE.read_text()))
        package = tomllib.loads((rendered.ROOT / "Cargo.toml").read_text())["workspace"]["package"]
        self.assertEqual(labels.pop("title"), "kube-node-manager")
        self.assertTrue(labels.pop("description"))
        self.assertEqual(labels.pop("licenses"), package["license"])
        self.assertEqual(labels, {"version": "${VERSION}", "revision": "${REVISION}"})

    def test_the_toolchain_is_the_one_that_the_workspace_asks_for(self):
        version = tomllib.loads((rendered.ROOT / "Cargo.toml").read_text())["workspace"]["package"]["rust-version"]
        self.assertIn(f"FROM rust:{version}-", DOCKERFILE.read_text())
