"""What an update or a changed configuration does to the StatefulSet."""

import json
import unittest

import yaml

import rendered


def volume_of_config(items):
    [volume] = [v for v in rendered.pod(items)["volumes"] if v["name"] == "config"]
    return volume["configMap"]["name"]


def set_image(assignment):
    """`kubectl set image`, as the guides have it, on the file instead of the cluster."""
    manifest = json.dumps(rendered.stateful_set(rendered.BASE))
    out = rendered.kubectl("set", "image", "--local", "-f", "-", assignment, "-o", "json", stdin=manifest)
    pod = json.loads(out)["spec"]["template"]["spec"]
    return {name: c["image"].rsplit(":", 1)[1] for name, c in rendered.containers(pod).items()}


class Configuration(unittest.TestCase):
    def test_a_changed_file_rolls_the_pods(self):
        file = "deploy/base/configs/config-multi-replica.yaml"
        before = rendered.objects(rendered.BASE)
        after = rendered.with_changed_file(
            rendered.BASE, file, lambda text: text.replace("poll_interval: 10000", "poll_interval: 5000"))
        self.assertNotEqual(volume_of_config(before), volume_of_config(after))
        self.assertNotEqual(rendered.pod(before), rendered.pod(after))
        for items in (before, after):
            name = volume_of_config(items)
            self.assertRegex(name, r"^kube-node-mgr-config-[a-z0-9]{10}$")
            config = rendered.find(items, "ConfigMap", name)
            self.assertEqual(list(config["data"]), ["config.yaml"])

    def test_the_same_file_leaves_them_alone(self):
        changed = rendered.with_changed_file(rendered.BASE, "deploy/base/pdb.yaml", lambda t: t + "# a comment\n")
        self.assertEqual(rendered.pod(changed), rendered.pod(rendered.BASE))

    def test_every_folder_mounts_the_file_that_it_makes(self):
        for folder in rendered.WHOLE:
            items = rendered.objects(folder)
            maps = [i for i in items if i["kind"] == "ConfigMap"]
            self.assertEqual([m["metadata"]["name"] for m in maps], [volume_of_config(items)], folder)
            config = yaml.safe_load(maps[0]["data"]["config.yaml"])
            self.assertEqual(config["database"]["password"], "${DB_PASSWORD}", folder)


class Image(unittest.TestCase):
    def test_the_star_updates_all_containers(self):
        self.assertEqual(set(set_image("*=kube-node-mgr:v9.9.9").values()), {"v9.9.9"})

    def test_the_one_container_form_leaves_two_behind(self):
        """Why the guides warn of it."""
        images = set_image("kube-node-mgr=kube-node-mgr:v9.9.9")
        self.assertEqual(images["kube-node-mgr"], "v9.9.9")
        self.assertNotIn("v9.9.9", (images["relay"], images["migrate"]))
