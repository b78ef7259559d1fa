"""Every object against the schema of its kind: Kubernetes' own, strictly, or that of its CRD."""

import json
import pathlib
import unittest

import jsonschema
import kubernetes_validate

import rendered

CRDS = pathlib.Path(__file__).parent / "crds"

# The oldest release that a folder is for, and the newest that there are schemas of.
NEWEST = kubernetes_validate.latest_version().rsplit(".", 1)[0]
OLDEST = {"deploy/overlays/no-native-sidecar": "1.25"}
DEFAULT_OLDEST = "1.30"


def strict(schema):
    """No fields that the schema does not name, as the API server prunes them and says nothing."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    out = {}
    for key, value in schema.items():
        if key in ("properties", "patternProperties"):
            out[key] = {name: strict(item) for name, item in value.items()}
        else:
            out[key] = strict(value)
    if "properties" in out and not schema.get("x-kubernetes-preserve-unknown-fields"):
        out.setdefault("additionalProperties", False)
    if out.pop("x-kubernetes-int-or-string", False):
        out.pop("type", None)
        out["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    return out


def custom(item):
    group, _, version = item["apiVersion"].partition("/")
    path = CRDS / f"{item['kind'].lower()}.{group}_{version}.json"
    if not path.is_file():
        raise AssertionError(f"there is no schema of {item['kind']} in {path.name}")
    schema = strict(json.loads(path.read_text())["schema"])
    schema["properties"]["metadata"] = {"type": "object"}
    jsonschema.Draft202012Validator(schema).validate(item)


def validate(item, version):
    if "." in item["apiVersion"].split("/")[0] and not item["apiVersion"].split("/")[0].endswith("k8s.io"):
        return custom(item)
    if item["apiVersion"].startswith("gateway.networking.k8s.io/"):
        return custom(item)
    return kubernetes_validate.validate(item, version, strict=True)


class Schemas(unittest.TestCase):
    def test_every_object_of_every_folder(self):
        for folder in rendered.EVERYTHING:
            for version in (OLDEST.get(folder, DEFAULT_OLDEST), NEWEST):
                for item in rendered.objects(folder):
                    name = f"{folder} {version} {item['kind']}/{item['metadata']['name']}"
                    with self.subTest(name):
                        validate(item, version)

    def test_a_folder_that_is_not_listed_is_no_folder(self):
        there = {f"deploy/overlays/{path.parent.name}" for path in rendered.OVERLAYS.glob("*/kustomization.yaml")}
        self.assertEqual(there | {rendered.BASE}, set(rendered.EVERYTHING))

    def test_a_misspelled_field_is_found_in_either_kind_of_schema(self):
        """The checks can fail."""
        wrong = rendered.stateful_set(rendered.BASE)
        wrong["spec"]["replica"] = 3
        with self.assertRaises(jsonschema.ValidationError):
            validate(wrong, NEWEST)
        route = rendered.find(rendered.objects("deploy/overlays/gateway"), "HTTPRoute", "kube-node-mgr")
        route["spec"]["rules"][0]["timeouts"]["reqest"] = "1s"
        with self.assertRaises(jsonschema.ValidationError):
            validate(route, NEWEST)
        # What the base uses is not there before the release that it is for.
        with self.assertRaises(jsonschema.ValidationError):
            validate(rendered.stateful_set(rendered.BASE), "1.27")
