"""The file with every key has every key."""

import re
import unittest

import yaml

import rendered

SOURCE = (rendered.ROOT / "shared/src/config.rs").read_text()


def fields(struct):
    body = re.search(rf"pub struct {struct} \{{(.*?)^\}}", SOURCE, re.M | re.S).group(1)
    return {name.removeprefix("r#"): kind for name, kind in re.findall(r"^    pub ([\w#]+): (.*),$", body, re.M)}


class Keys(unittest.TestCase):
    def test_the_file_with_every_key_has_every_key(self):
        wanted = {f"{section}.{key}" for section, kind in fields("Config").items() for key in fields(kind)}
        file = rendered.DEPLOY / "base/configs/config-multi-replica.yaml"
        found = {f"{section}.{key}" for section, keys in yaml.safe_load(file.read_text()).items() for key in keys}
        self.assertEqual(found, wanted)
        self.assertGreater(len(wanted), 30)
