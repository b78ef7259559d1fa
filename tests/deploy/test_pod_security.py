"""The rules of the Pod Security Standard "restricted", and of this project.

https://kubernetes.io/docs/concepts/security/pod-security-standards/
"""

import unittest

import rendered

VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}


def pods():
    for folder in rendered.WHOLE:
        for item in rendered.objects(folder):
            if item["kind"] in ("StatefulSet", "Deployment", "DaemonSet", "Job"):
                yield f"{folder} {item['metadata']['name']}", item["spec"]["template"]["spec"]


def faults(pod):
    """What "restricted" would object to."""
    found = []
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(field):
            found.append(field)
    for volume in pod.get("volumes", []):
        for kind in set(volume) - {"name"} - VOLUMES:
            found.append(f"volume {volume['name']} of kind {kind}")
    of_pod = pod.get("securityContext", {})
    for name, container in rendered.containers(pod).items():
        own = container.get("securityContext", {})
        both = {**of_pod, **own}
        if own.get("privileged"):
            found.append(f"{name} privileged")
        if own.get("allowPrivilegeEscalation") is not False:
            found.append(f"{name} allowPrivilegeEscalation")
        if both.get("runAsNonRoot") is not True:
            found.append(f"{name} runAsNonRoot")
        if both.get("runAsUser") == 0:
            found.append(f"{name} runAsUser")
        if both.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"):
            found.append(f"{name} seccompProfile")
        capabilities = own.get("capabilities", {})
        if "ALL" not in capabilities.get("drop", []) or set(capabilities.get("add", [])) - {"NET_BIND_SERVICE"}:
            found.append(f"{name} capabilities")
        for port in container.get("ports", []):
            if port.get("hostPort"):
                found.append(f"{name} hostPort")
    return found


class PodSecurity(unittest.TestCase):
    def test_every_pod_is_restricted(self):
        seen = 0
        for name, pod in pods():
            seen += 1
            with self.subTest(name):
                self.assertEqual(faults(pod), [])
        self.assertGreater(seen, len(rendered.WHOLE))

    def test_the_rules_find_what_is_wrong(self):
        """The check can fail."""
        for spoil, fault in [
            (lambda pod: pod.update(hostNetwork=True), "hostNetwork"),
            (lambda pod: pod["securityContext"].pop("runAsNonRoot"), "runAsNonRoot"),
            (lambda pod: pod["securityContext"].pop("seccompProfile"), "seccompProfile"),
            (lambda pod: pod["containers"][0]["securityContext"].pop("capabilities"), "capabilities"),
            (lambda pod: pod["initContainers"][1].pop("securityContext"), "relay allowPrivilegeEscalation"),
            (lambda pod: pod["volumes"].append({"name": "x", "hostPath": {"path": "/"}}), "hostPath"),
        ]:
            pod = rendered.pod(rendered.BASE)
            spoil(pod)
            self.assertTrue(any(fault in found for found in faults(pod)), fault)

    def test_roots_are_read_only_and_users_numeric(self):
        for name, pod in pods():
            for container, spec in rendered.containers(pod).items():
                with self.subTest(f"{name} {container}"):
                    self.assertIs(spec["securityContext"]["readOnlyRootFilesystem"], True)
            self.assertGreater(pod["securityContext"]["runAsUser"], 0, name)

    def test_the_namespace_enforces_it(self):
        for folder in rendered.WHOLE:
            labels = rendered.find(rendered.objects(folder), "Namespace", "kube-node-mgr")["metadata"]["labels"]
            self.assertEqual(labels["pod-security.kubernetes.io/enforce"], "restricted", folder)

    def test_tokens_and_keys_reach_only_the_api(self):
        for folder in rendered.WHOLE:
            pod = rendered.pod(folder)
            self.assertIs(pod["automountServiceAccountToken"], False, folder)
            account = rendered.find(rendered.objects(folder), "ServiceAccount", pod["serviceAccountName"])
            self.assertIs(account["automountServiceAccountToken"], False, folder)
            with_token = {v["name"] for v in pod["volumes"] if "serviceAccountToken" in str(v)}
            self.assertEqual(with_token, {"service-account"}, folder)
            for name, container in rendered.containers(pod).items():
                mounts = {m["name"] for m in container["volumeMounts"]}
                variables = {v["name"] for v in container["env"]}
                private = {"KNM_ADMIN_PASSWORD", "KNM_ENCRYPTION_KEY"}
                with self.subTest(f"{folder} {name}"):
                    if name == "kube-node-mgr":
                        self.assertLessEqual({"service-account"}, mounts)
                        self.assertLessEqual(private, variables)
                    else:
                        self.assertNotIn("service-account", mounts)
                        self.assertFalse(private & variables)
                        self.assertNotIn("envFrom", container)

    def test_no_manifest_holds_a_secret(self):
        for folder in rendered.EVERYTHING:
            kinds = {item["kind"] for item in rendered.objects(folder)}
            self.assertNotIn("Secret", kinds, folder)
