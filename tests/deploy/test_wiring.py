"""Names, ports, probes, selectors: everything fits together, and is called what the guides call it."""

import re
import tomllib
import unittest

import rendered

WITH_SIDECAR = [folder for folder in rendered.WHOLE if "no-native" not in folder]


def ports(pod):
    return {p["name"]: p["containerPort"] for c in rendered.containers(pod).values() for p in c.get("ports", [])}


class Names(unittest.TestCase):
    def test_what_the_guides_look_for_is_there(self):
        items = rendered.objects(rendered.BASE)
        for kind, name in [
            ("Namespace", "kube-node-mgr"),
            ("StatefulSet", "kube-node-mgr"),
            ("Service", "kube-node-mgr"),
            ("Service", "kube-node-mgr-headless"),
            ("PodDisruptionBudget", "kube-node-mgr"),
            ("NetworkPolicy", "kube-node-mgr"),
            ("ClusterRole", "kube-node-mgr"),
        ]:
            rendered.find(items, kind, name)
        database = rendered.find(items, "Service", "postgres-service")
        self.assertEqual(database["metadata"]["namespace"], "default")
        self.assertEqual(database["spec"]["selector"], {"app": "postgresql"})

    def test_the_stateful_set_is_the_guides(self):
        for folder in rendered.WHOLE:
            spec = rendered.stateful_set(folder)["spec"]
            self.assertEqual((spec["replicas"], spec["podManagementPolicy"]), (3, "Parallel"), folder)
            self.assertEqual(spec["serviceName"], "kube-node-mgr-headless")
            template = spec["template"]
            self.assertEqual(template["metadata"]["labels"]["app"], "kube-node-mgr")
            default = template["metadata"]["annotations"]["kubectl.kubernetes.io/default-container"]
            self.assertEqual(default, "kube-node-mgr")
            self.assertEqual(set(rendered.containers(template["spec"])), set(rendered.CONTAINERS), folder)

    def test_the_image_is_one_and_of_this_release(self):
        version = tomllib.loads((rendered.ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]
        for folder in rendered.WHOLE:
            images = {c["image"] for c in rendered.containers(rendered.pod(folder)).values()}
            self.assertEqual(images, {f"kube-node-mgr:v{version}"}, folder)


class Order(unittest.TestCase):
    def test_migrate_then_the_sidecar_then_the_api(self):
        for folder in WITH_SIDECAR:
            pod = rendered.pod(folder)
            self.assertEqual([c["name"] for c in pod["initContainers"]], ["migrate", "relay"], folder)
            self.assertEqual([c["name"] for c in pod["containers"]], ["kube-node-mgr"], folder)
            policies = [c.get("restartPolicy") for c in pod["initContainers"]]
            self.assertEqual(policies, [None, "Always"], folder)

    def test_without_sidecars_both_are_containers(self):
        pod = rendered.pod("deploy/overlays/no-native-sidecar")
        self.assertEqual([c["name"] for c in pod["initContainers"]], ["migrate"])
        self.assertEqual([c["name"] for c in pod["containers"]], ["kube-node-mgr", "relay"])
        for container in pod["containers"]:
            self.assertNotIn("restartPolicy", container)
            self.assertNotIn("lifecycle", container)

    def test_the_api_does_not_wait_for_a_relay_that_waits_for_the_database(self):
        for folder in rendered.WHOLE:
            for name, container in rendered.containers(rendered.pod(folder)).items():
                if name == "migrate":
                    continue
                with self.subTest(f"{folder} {name}"):
                    self.assertEqual(container["startupProbe"]["httpGet"]["path"], "/livez")
                    self.assertEqual(container["livenessProbe"]["httpGet"]["path"], "/livez")
                    self.assertEqual(container["readinessProbe"]["httpGet"]["path"], "/readyz")

    def test_the_grace_periods_fit(self):
        """The programs' own: api 25 s, relay 10 s."""
        for folder in rendered.WHOLE:
            pod = rendered.pod(folder)
            api = rendered.containers(pod)["kube-node-mgr"]
            pause = api.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
            self.assertGreaterEqual(pod["terminationGracePeriodSeconds"], pause + 25 + 10, folder)


class Resources(unittest.TestCase):
    def test_every_container_asks_for_some_and_has_a_bound_on_memory_alone(self):
        for folder in rendered.WHOLE:
            for name, container in rendered.containers(rendered.pod(folder)).items():
                with self.subTest(f"{folder} {name}"):
                    asked, bound = container["resources"]["requests"], container["resources"]["limits"]
                    self.assertEqual(set(asked), {"cpu", "memory"})
                    # A CPU limit would make leases late and look like lost connections.
                    self.assertEqual(set(bound), {"memory"})

    def test_each_has_its_reason_beside_it(self):
        lines = (rendered.DEPLOY / "base/statefulset.yaml").read_text().splitlines()
        above = [lines[n - 1].strip() for n, line in enumerate(lines) if line.strip() == "resources:"]
        self.assertEqual(len(above), 3)
        self.assertTrue(all(line.startswith("#") for line in above), above)


class Same(unittest.TestCase):
    def test_every_container_reads_the_same_file_and_database(self):
        for folder in rendered.WHOLE:
            found = rendered.containers(rendered.pod(folder)).values()
            database = [[v for v in c["env"] if v["name"].startswith("DB_")] for c in found]
            self.assertTrue(database[0], folder)
            self.assertTrue(all(d == database[0] for d in database), folder)
            for container in found:
                [config] = [m for m in container["volumeMounts"] if m["name"] == "config"]
                self.assertEqual(config["mountPath"], "/etc/kube-node-manager")
                self.assertNotIn("subPath", config)
                self.assertNotIn("KNM_CONFIG", [v["name"] for v in container["env"]])

    def test_the_password_is_where_the_guide_puts_it(self):
        for folder in rendered.WHOLE:
            for container in rendered.containers(rendered.pod(folder)).values():
                [password] = [v for v in container["env"] if v["name"] == "DB_PASSWORD"]
                secret = password["valueFrom"]["secretKeyRef"]
                self.assertEqual(secret["key"], "password")
                own = "cloudnative-pg" in folder
                self.assertEqual(secret["name"], "kube-node-mgr-db-app" if own else "postgres-secret")

    def test_every_mount_has_its_volume(self):
        for folder in rendered.WHOLE:
            pod = rendered.pod(folder)
            volumes = {v["name"] for v in pod["volumes"]}
            for container in rendered.containers(pod).values():
                self.assertLessEqual({m["name"] for m in container["volumeMounts"]}, volumes, folder)


class Network(unittest.TestCase):
    def test_ports_are_those_of_the_configuration(self):
        wanted = {"http": 8080, "api-admin": 9090, "ws": 8081, "relay-admin": 9091}
        for folder in rendered.WHOLE:
            self.assertEqual(ports(rendered.pod(folder)), wanted, folder)

    def test_services_lead_to_the_pods(self):
        for folder in rendered.WHOLE:
            items = rendered.objects(folder)
            labels = rendered.stateful_set(items)["spec"]["template"]["metadata"]["labels"]
            open_ports = set(ports(rendered.pod(items)).values())
            for name in ("kube-node-mgr", "kube-node-mgr-headless"):
                spec = rendered.find(items, "Service", name)["spec"]
                self.assertLessEqual(spec["selector"].items(), labels.items())
                self.assertEqual({p["name"]: p["targetPort"] for p in spec["ports"]}, {"http": 8080, "ws": 8081})
                self.assertLessEqual({p["targetPort"] for p in spec["ports"]}, open_ports)
            for kind in ("PodDisruptionBudget", "NetworkPolicy"):
                spec = rendered.find(items, kind, "kube-node-mgr")["spec"]
                selector = spec.get("selector") or spec["podSelector"]
                self.assertLessEqual(selector["matchLabels"].items(), labels.items())

    def test_the_network_policy_names_every_port(self):
        for folder in rendered.WHOLE:
            items = rendered.objects(folder)
            policy = rendered.find(items, "NetworkPolicy", "kube-node-mgr")["spec"]
            let_in = {p["port"] for rule in policy["ingress"] for p in rule["ports"]}
            self.assertEqual(let_in, set(ports(rendered.pod(items)).values()), folder)
            public = {p["port"] for rule in policy["ingress"] if "from" not in rule for p in rule["ports"]}
            self.assertEqual(public, {8080, 8081}, folder)
            let_out = {p["port"] for rule in policy["egress"] for p in rule["ports"]}
            self.assertEqual(let_out, {53, 5353, 5432, 443, 6443}, folder)

    def test_names_are_resolved_wherever_dns_runs(self):
        """A cache on the node has no pod, and behind some Services of DNS the pods listen on 5353."""
        for folder in rendered.WHOLE:
            policy = rendered.find(rendered.objects(folder), "NetworkPolicy", "kube-node-mgr")["spec"]
            [dns] = [rule for rule in policy["egress"] if 53 in {p["port"] for p in rule["ports"]}]
            self.assertNotIn("to", dns, folder)
            found = {(p["port"], p["protocol"]) for p in dns["ports"]}
            self.assertEqual(found, {(port, kind) for port in (53, 5353) for kind in ("UDP", "TCP")}, folder)

    def test_nothing_on_the_way_in_holds_back_what_the_programs_take_and_send(self):
        ingress = rendered.find(rendered.objects("deploy/overlays/ingress"), "Ingress", "kube-node-mgr")
        prefix = "nginx.ingress.kubernetes.io/"
        set_to = {k.removeprefix(prefix): v for k, v in ingress["metadata"]["annotations"].items()}
        # Sockets are pinged, and event streams say something, every 20 s.
        for name in ("proxy-read-timeout", "proxy-send-timeout"):
            self.assertGreaterEqual(int(set_to[name]), 60, name)
        self.assertEqual(set_to["proxy-buffering"], "off")
        source = (rendered.ROOT / "api/src/http/body.rs").read_text()
        [largest] = re.findall(r"MAX_LARGE_BODY: usize = (\d+) \* 1024 \* 1024;", source)
        self.assertEqual(set_to["proxy-body-size"], f"{largest}m")
        route = rendered.find(rendered.objects("deploy/overlays/gateway"), "HTTPRoute", "kube-node-mgr")
        self.assertEqual([r["timeouts"]["request"] for r in route["spec"]["rules"]], ["0s", "0s"])

    def test_ingress_and_gateway_send_sockets_to_the_relay_and_the_rest_to_the_api(self):
        service = rendered.find(rendered.objects(rendered.BASE), "Service", "kube-node-mgr")["spec"]
        by_name = {p["name"]: p["port"] for p in service["ports"]}
        ingress = rendered.find(rendered.objects("deploy/overlays/ingress"), "Ingress", "kube-node-mgr")
        paths = ingress["spec"]["rules"][0]["http"]["paths"]
        routes = {(p["pathType"], p["path"]): by_name[p["backend"]["service"]["port"]["name"]] for p in paths}
        self.assertEqual(routes, {("Exact", "/api/v1/progress/ws"): 8081, ("Prefix", "/"): 8080})
        route = rendered.find(rendered.objects("deploy/overlays/gateway"), "HTTPRoute", "kube-node-mgr")
        found = {}
        for rule in route["spec"]["rules"]:
            path = rule["matches"][0]["path"]
            found[path["type"].replace("Path", ""), path["value"]] = rule["backendRefs"][0]["port"]
        self.assertEqual(found, routes)

    def test_what_stands_beside_is_in_the_same_namespace(self):
        for folder in rendered.BESIDE:
            for item in rendered.objects(folder):
                self.assertEqual(item["metadata"]["namespace"], "kube-node-mgr", folder)
