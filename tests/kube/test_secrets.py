"""Certificates and authorities by `secretName`: mounted by the pod, and followed by name over the API."""

import json

from api import ApiCase, rule
from kube import configuration
from support import wait_for

SECRETS = "/etc/onvif-uplink/secrets"


def by_name(name="camera-1", authority=None):
    """The configuration of one device whose certificate and authority are Secrets."""
    document = json.loads(configuration(name))
    document["certificates"] = {name: {"secretName": name}}
    document["certPathValidationPolicies"] = {"ca": {"secretName": authority or name}}
    return json.dumps(document)


class Secrets(ApiCase):
    def rotated(self, address, before, seconds=60):
        """Waits until a session stands that began with another certificate."""
        return wait_for("the new certificate is used", lambda: (entry := self.online(address))
                        and entry["certificateExpiry"] != before["certificateExpiry"] and entry, seconds)

    def rotate(self, days=60):
        self.pki.leaf("camera-1", "/CN=camera-1", "DNS:camera-1", "clientAuth", days=days)
        self.secret("camera-1", self.pair("camera-1"))

    def over_the_api(self, *names, **more):
        rules = [rule("configmaps", "uplinks"), *([rule("secrets", *names)] if names else [])]
        return self.api_pod("--secrets", "api", rules=rules, text=by_name(**more),
                            mounts=[{"name": "secrets", "mountPath": SECRETS}],
                            volumes=[{"name": "secrets", "emptyDir": {"medium": "Memory"}}])

    def test_a_mounted_secret_is_found_by_its_name_and_its_rotation_taken(self):
        self.devices = ("camera-1",)
        sidecar = self.sidecar()
        sidecar["volumeMounts"][1]["mountPath"] = f"{SECRETS}/camera-1"
        # Beside the Secrets and not above them: a mounted ConfigMap is read-only and cannot hold mount points.
        sidecar["volumeMounts"][0]["mountPath"] = "/etc/onvif-uplink/config"
        sidecar["args"] = [part.replace("/etc/onvif-uplink/uplinks", "/etc/onvif-uplink/config/uplinks") for part in sidecar["args"]]
        address = self.camera_pod(text=by_name(), sidecar=sidecar)
        before = self.online(address)
        self.rotate()
        self.refresh()
        self.rotated(address, before)
        self.reached()

    def test_a_secret_over_the_api_needs_a_rule_for_its_name_only_and_its_rotation_is_taken(self):
        address = self.over_the_api("camera-1")
        before = self.online(address)
        self.rotate()
        self.rotated(address, before, 15)
        self.reached()

    def test_a_secret_that_the_role_does_not_name_is_told_with_the_mend(self):
        address = self.over_the_api()
        rule_missing = "resources: [secrets], resourceNames: [camera-1], verbs: [get, list, watch]"
        wait_for("the sentence gives the rule", lambda: rule_missing in str(self.status(address)["config"]["secrets"]))
        self.grant(rule("configmaps", "uplinks"), rule("secrets", "camera-1"))
        self.online(address, seconds=90)

    def test_a_secret_that_goes_or_does_not_match_leaves_the_last_good_one_in_force(self):
        address = self.over_the_api("camera-1")
        since = self.online(address)["session"]["since"]
        good = self.pair("camera-1")
        self.pki.client("other")
        self.secret("camera-1", good | {"tls.key": self.pki.path("other.key").read_text()})
        wait_for("the mismatch is told", lambda: "key-mismatch" in self.kubectl("logs", "camera", "-c", "onvif-uplink"))
        self.reached()
        self.kubectl("delete", "secret", "camera-1")
        told = f"Secret {self.namespace}/camera-1: there is no such Secret; create it"
        wait_for("the loss is told", lambda: self.status(address)["config"]["secrets"] == [told])
        self.secret("camera-1", good)
        wait_for("it is in order again", lambda: "secrets" not in self.status(address)["config"])
        self.assertEqual(self.online(address)["session"]["since"], since)
        self.reached()
