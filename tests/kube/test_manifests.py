"""The kustomize overlays without Helm, and the example of the library chart: applied to a real node.

The neighbours' images are of registries that a node of the tests does not reach: nginx, the camera that we did not write, stands for them.
"""

import json
import shutil
import unittest

from api import ApiCase
from kube import GATEWAY, RESTRICTED
from support import ROOT, wait_for

MANIFESTS, CHARTS = ROOT / "manifests", ROOT / "charts"
OURS = {"image": "localhost/onvif-uplink:1", "imagePullPolicy": "Never"}
FOREIGN = {"image": "localhost/foreign-camera:1", "imagePullPolicy": "Never", "securityContext": RESTRICTED | {"readOnlyRootFilesystem": False}}


def stand_in(pod, aliases):
    """The pod of a workload with the images of the node; a volume that another machine would bring is one in memory here."""
    pod["hostAliases"] = aliases
    # What a neighbour's own init container prepares is of no use to the stand-in, which has not its programs.
    pod["initContainers"] = [one for one in pod.get("initContainers", []) if one["name"] == "onvif-uplink"]
    for container in pod["initContainers"] + pod["containers"]:
        ours = container["name"] == "onvif-uplink"
        container.update(OURS if ours else FOREIGN)
        if not ours:
            for key in ("command", "args", "readinessProbe", "livenessProbe", "startupProbe", "volumeMounts"):
                container.pop(key, None)


@unittest.skipUnless(MANIFESTS.exists(), "there are no manifests in this working copy")
class Manifests(ApiCase):
    def objects(self, text):
        """What kubectl reads in YAML, as dictionaries."""
        decoder, objects = json.JSONDecoder(), []
        text = self.kubectl("create", "--dry-run=client", "--validate=false", "-o", "json", "-f", "-", input=text).strip()
        while text:
            value, end = decoder.raw_decode(text)
            objects += value["items"] if value["kind"] == "List" else [value]
            text = text[end:].strip()
        return objects

    def overlay(self, name):
        """Applies an overlay beside our gateway; returns the address of its pod."""
        self.pki.client(name)
        self.secret("onvif-uplink-tls", self.pair(name))
        text = self.kubectl("kustomize", MANIFESTS / "overlays" / name)
        # The cloud of the example is the gateway of the test.
        objects = self.objects(text.replace("cloud.example.com", GATEWAY))
        for workload in (entry for entry in objects if entry["kind"] in ("Deployment", "StatefulSet")):
            stand_in(workload["spec"]["template"]["spec"], self.aliases)
            workload["spec"].pop("volumeClaimTemplates", None)
        self.apply(*objects)
        pods = lambda: json.loads(self.kubectl("get", "pods", "-l", f"app.kubernetes.io/name={name}", "-o", "json"))["items"]
        return self.ready(wait_for("its pod", pods)[0]["metadata"]["name"])

    def test_the_overlay_of_a_camera_comes_up(self):
        self.online(self.overlay("mediamtx"), "mediamtx")

    def test_the_overlay_of_a_recorder_comes_up(self):
        self.online(self.overlay("frigate"), "frigate")
        self.assertIn("UplinkOnline", wait_for("an Event", lambda: (text := self.kubectl("describe", "pods", "-l", "app.kubernetes.io/name=frigate"))
                                               and "UplinkOnline" in text and text))

    def test_the_api_server_takes_each_overlay_as_it_is(self):
        names = sorted(path.name for path in (MANIFESTS / "overlays").iterdir())
        self.assertTrue(names)
        for name in names:
            with self.subTest(overlay=name):
                self.kubectl("apply", "--dry-run=server", "-k", MANIFESTS / "overlays" / name)


@unittest.skipUnless(CHARTS.exists(), "there are no charts in this working copy")
class Library(ApiCase):
    def test_a_chart_of_somebody_else_gets_the_sidecar_from_the_library(self):
        self.identity("recorder")
        charts = self.dir / "charts"
        shutil.copytree(CHARTS, charts, ignore=shutil.ignore_patterns("*.tgz"))
        chart = charts / "examples" / "recorder"
        config = {"devices": [{"name": "recorder", "http": "http://127.0.0.1:8000", "uplinks": [
            {"remoteAddress": f"https://{GATEWAY}:8443/", "certificateID": "own", "userLevel": "Administrator", "certPathValidationPolicyID": "ca"}]}],
            "certificates": {"own": {"secretName": "recorder"}}, "certPathValidationPolicies": {"ca": {"secretName": "recorder"}}}
        file = self.dir / "values.json"
        file.write_text(json.dumps({"image": FOREIGN["image"], "uplink": {"config": config, "image": {
            "repository": "localhost/onvif-uplink", "tag": "1", "pullPolicy": "Never"}}}))
        self.helm("dependency", "build", chart)
        objects = Manifests.objects(self, self.helm("template", "nvr", chart, "--values", file))
        (workload,) = (entry for entry in objects if entry["kind"] in ("Deployment", "StatefulSet"))
        stand_in(workload["spec"]["template"]["spec"], self.aliases)
        self.apply(*objects)
        self.kubectl("rollout", "status", f"{workload['kind']}/{workload['metadata']['name']}", "--timeout=50s")
        wait_for("its picture comes", lambda: self.picture("recorder"))
