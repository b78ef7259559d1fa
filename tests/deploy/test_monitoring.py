"""The overlay `monitoring`: it scrapes both programs, and has every rule and every dashboard.

The PrometheusRule holds the rules of dashboards/rules, which promtool tests as they are there. To make it
anew:  KNM_WRITE_RULES=1 tests/deploy/run test_monitoring
"""

import json
import os
import unittest

import yaml

import rendered

FOLDER = "deploy/overlays/monitoring"
DASHBOARDS = rendered.ROOT / "dashboards"
HEAD = """\
# Made from dashboards/rules by tests/deploy/test_monitoring.py, which says how. Change the rules there.
"""


class Folded(yaml.SafeDumper):
    """Long expressions stay readable."""


Folded.add_representer(str, lambda dumper, text: dumper.represent_scalar(
    "tag:yaml.org,2002:str", text, style="|" if "\n" in text else None))


def rule_files():
    for path in sorted((DASHBOARDS / "rules").glob("*.y*ml")):
        content = yaml.safe_load(path.read_text())
        if "groups" in content:
            yield path.name, content["groups"]


def prometheus_rule():
    groups = [group for _, groups in rule_files() for group in groups]
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "kube-node-mgr"},
        "spec": {"groups": groups},
    }


def setUpModule():
    if os.environ.get("KNM_WRITE_RULES"):
        out = yaml.dump(prometheus_rule(), Dumper=Folded, sort_keys=False, width=100, allow_unicode=True)
        (rendered.ROOT / FOLDER / "rules.yaml").write_text(HEAD + out)


class Monitoring(unittest.TestCase):
    def test_the_rules_are_those_of_the_dashboards_folder(self):
        found = rendered.find(rendered.objects(FOLDER), "PrometheusRule", "kube-node-mgr")
        wanted = prometheus_rule()
        self.assertTrue(wanted["spec"]["groups"], "no rules")
        self.assertEqual(found["spec"], wanted["spec"], "run KNM_WRITE_RULES=1 tests/deploy/run test_monitoring")

    def test_every_dashboard_has_its_config_map(self):
        there = {path.name: json.loads(path.read_text()) for path in DASHBOARDS.glob("*.json")}
        self.assertTrue(there, "no dashboards")
        found = {}
        for item in rendered.objects(FOLDER):
            if item["kind"] == "ConfigMap":
                self.assertEqual(item["metadata"]["labels"]["grafana_dashboard"], "1")
                for name, text in item["data"].items():
                    found[name] = json.loads(text)
        self.assertEqual(found, there)

    def test_both_programs_of_every_pod_are_scraped(self):
        spec = rendered.find(rendered.objects(FOLDER), "PodMonitor", "kube-node-mgr")["spec"]
        scraped = {endpoint["port"] for endpoint in spec["podMetricsEndpoints"]}
        self.assertEqual(scraped, {"api-admin", "relay-admin"})
        for folder in rendered.WHOLE:
            labels = rendered.stateful_set(folder)["spec"]["template"]["metadata"]["labels"]
            self.assertLessEqual(spec["selector"]["matchLabels"].items(), labels.items(), folder)
            ports = {p["name"] for c in rendered.containers(rendered.pod(folder)).values() for p in c.get("ports", [])}
            self.assertLessEqual(scraped, ports, folder)
