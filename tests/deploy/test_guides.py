"""The two guides say the same, and what they show is what there is."""

import os
import pathlib
import re
import tempfile
import unittest

import yaml

import rendered
import test_schemas

GUIDES = {name: (rendered.DEPLOY / name).read_text() for name in ("README.md", "README.zh-CN.md")}


def blocks(text):
    """(mark, language, content) of each block of code."""
    found = re.findall(r"(?:<!-- run: (\w+) -->\n)?^```(\w*)\n(.*?)^```$", text, re.M | re.S)
    return found


def without_comments(language, content):
    start = {"sql": "--", "bash": "#", "yaml": "#"}.get(language)
    if not start:
        return content
    lines = [re.sub(rf"(^|\s+){start} .*$", "", line) for line in content.splitlines()]
    return "\n".join(line for line in lines if line.strip())


def anchors(text):
    """As GitHub makes them."""
    out = set()
    for heading in re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S), re.M):
        kept = "".join(c for c in heading.lower() if c.isalnum() or c in " -_")
        out.add(kept.replace(" ", "-"))
    return out


def part_of(small, large):
    """Whether every field of `small` is in `large`; lists of named things by name."""
    if isinstance(small, dict):
        return isinstance(large, dict) and all(k in large and part_of(v, large[k]) for k, v in small.items())
    if isinstance(small, list) and small and isinstance(small[0], dict):
        return all(any(part_of(item, other) for other in large) for item in small)
    return small == large


class Guides(unittest.TestCase):
    def test_both_have_the_same_code(self):
        en, zh = (
            [(mark, language, without_comments(language, content)) for mark, language, content in blocks(text)]
            for text in GUIDES.values()
        )
        self.assertEqual(en, zh)
        self.assertGreater(len(en), 25)

    def test_both_have_the_same_sections_and_tables(self):
        def shape(text):
            text = re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)
            return [line.split(" ")[0] if line.startswith("#") else "|" * line.count(" | ")
                    for line in text.splitlines() if line.startswith(("#", "|"))]
        en, zh = (shape(text) for text in GUIDES.values())
        self.assertEqual(en, zh)

    def test_links_lead_somewhere(self):
        for name, text in GUIDES.items():
            for target in re.findall(r"\]\(([^)]+)\)", text):
                path, _, anchor = target.partition("#")
                with self.subTest(f"{name}: {target}"):
                    if "://" in target:
                        continue
                    if path:
                        self.assertTrue((rendered.DEPLOY / path).exists())
                    else:
                        self.assertIn(anchor, anchors(text))

    def test_the_configuration_is_the_shipped_one(self):
        wanted = yaml.safe_load((rendered.DEPLOY / "base/configs/config.yaml").read_text())
        for name, text in GUIDES.items():
            shown = [yaml.safe_load(c) for _, language, c in blocks(text) if language == "yaml"]
            [config] = [item for item in shown if isinstance(item, dict) and "progress" in item]
            self.assertTrue(part_of(config, wanted), name)
            self.assertEqual(config["database"], wanted["database"], name)

    def test_the_objects_are_those_of_the_base(self):
        items = rendered.objects(rendered.BASE)
        for name, text in GUIDES.items():
            shown = [yaml.safe_load(c) for _, language, c in blocks(text) if language == "yaml"]
            for kind, title in [("StatefulSet", "kube-node-mgr"), ("Service", "postgres-service")]:
                [snippet] = [i for i in shown if isinstance(i, dict) and i.get("kind") == kind]
                self.assertTrue(part_of(snippet, rendered.find(items, kind, title)), f"{name}: {kind}")

    def test_the_variables_are_those_that_fill_in(self):
        source = (rendered.ROOT / "shared/src/config/env.rs").read_text()
        known = set(re.findall(r'pub const DB_\w+: &str = "(\w+)"', source))
        for name, text in GUIDES.items():
            [env] = [yaml.safe_load(c)["env"] for _, lang, c in blocks(text) if lang == "yaml" and c.startswith("env:")]
            self.assertEqual({v["name"] for v in env}, known, name)

    def patched(self, patch):
        """The base with a patch of a guide, as a kustomization beside it would have it."""
        with tempfile.TemporaryDirectory() as folder:
            resources = {"resources": [os.path.relpath(rendered.DEPLOY / "base", os.path.realpath(folder))]}
            (pathlib.Path(folder) / "kustomization.yaml").write_text(yaml.safe_dump(resources | patch))
            items = list(yaml.safe_load_all(rendered.kubectl("kustomize", folder)))
        for item in items:
            test_schemas.validate(item, test_schemas.NEWEST)
        return items

    def test_patches_do_what_is_said(self):
        for name, text in GUIDES.items():
            patches = [yaml.safe_load(c) for _, lang, c in blocks(text) if lang == "yaml" and c.startswith("patches:")]
            away, outside, policy = [self.patched(patch) for patch in patches]
            services = {i["metadata"]["name"] for i in away if i["kind"] == "Service"}
            self.assertEqual(services, {"kube-node-mgr", "kube-node-mgr-headless"}, name)
            spec = rendered.find(outside, "Service", "postgres-service")["spec"]
            self.assertEqual(spec, {"type": "ExternalName", "externalName": "postgres.example.com"}, name)
            rules = rendered.find(policy, "NetworkPolicy", "kube-node-mgr")["spec"]
            let_out = [{p["port"] for p in rule["ports"]} for rule in rules["egress"]]
            self.assertEqual(let_out[-2:], [{6432}, {16443, 4318}], name)
            [metrics] = [r["from"] for r in rules["ingress"] if "from" in r]
            labels = [f["namespaceSelector"]["matchLabels"] for f in metrics]
            self.assertEqual(labels, [{"kubernetes.io/metadata.name": "observability"}], name)

    def test_every_heading_of_the_errand_has_an_answer(self):
        """Problems and figures that people will look for, by the words that they will look for."""
        for name, text in GUIDES.items():
            for word in [
                "dial tcp 127.0.0.1:5432: connect: connection refused",
                "failed to connect PostgreSQL listener within 10s timeout",
                "FATAL: password authentication failed",
                "kubectl create secret generic postgres-secret",
                "Published to PostgreSQL", "Forwarded notification",
                "pg_stat_activity WHERE datname = 'kube_node_manager'",
                "INTERVAL '1 hour'", "ALTER SYSTEM SET max_connections = 200",
                "'*=kube-node-mgr:v", "kubectl rollout status statefulset/kube-node-mgr",
                "PostgreSQL listener connected", "100 ms", "95 %", "--adopt", "Redis",
            ]:
                self.assertIn(word, text, name)

    def test_containers_that_are_named_exist(self):
        """Also in the runbook, where every alert's reader begins."""
        pods = rendered.find(rendered.objects(rendered.BASE), "StatefulSet", "kube-node-mgr")["spec"]["template"]["spec"]
        known = {c["name"] for c in pods["containers"] + pods["initContainers"]}
        runbook = (rendered.ROOT / "dashboards/README.md").read_text()
        for name, text in {**GUIDES, "runbook": runbook}.items():
            named = set(re.findall(r"-c ([a-z][a-z-]*)", text))
            self.assertTrue(named, name)
            self.assertLessEqual(named, known, name)

    def test_metrics_and_alerts_exist(self):
        source = "".join(p.read_text() for f in ("api", "relay", "shared") for p in (rendered.ROOT / f / "src").rglob("*.rs"))
        rules = "".join(p.read_text() for p in (rendered.ROOT / "dashboards/rules").glob("*.yaml"))
        for name, text in GUIDES.items():
            for metric in set(re.findall(r"\bknm_(?:api|relay)_\w+|\bknm_config_info", text)):
                if not metric.endswith("_"):
                    self.assertIn(f'"{metric}"', source, name)
            named = set(re.findall(r"`(Knm\w+)`", text))
            self.assertEqual(named, set(re.findall(r"alert: (\w+)\n", rules)), name)

    def test_what_a_shell_would_take_for_a_pattern_is_quoted(self):
        for name, text in GUIDES.items():
            self.assertNotRegex(text, r"kubectl get --raw [^'\s]*\?", name)
