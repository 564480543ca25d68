"""The charts as a platform team uses them: installed by Helm on a real node, upgraded, tested, removed."""

import json
import shutil
import unittest

from api import ApiCase
from kube import GATEWAY, NODE, UPLINK, Case, Download, states
from support import ROOT, wait_for

CHARTS = ROOT / "charts"
# Operators of others that a node of the tests does not have; what they define is checked offline (tests/charts).
FOREIGN = ("monitoring.coreos.com/", "cert-manager.io/")


def configuration(level="Administrator", port=8080):
    return {"devices": [{"name": "camera-1", "http": f"http://127.0.0.1:{port}", "uplinks": [
                {"remoteAddress": UPLINK, "certificateID": "own", "userLevel": level, "certPathValidationPolicyID": "ca"}]}],
            "certificates": {"own": {"secretName": "camera-1"}}, "certPathValidationPolicies": {"ca": {"secretName": "camera-1"}}}


def second_device():
    """The same with a device beside, which touches no uplink."""
    document = configuration()
    document["devices"].append({"name": "camera-2", "http": "http://127.0.0.1:8081", "uplinks": []})
    return document


@unittest.skipUnless(CHARTS.exists(), "there are no charts in this working copy")
class Chart(ApiCase):
    """The chart of a camera, from a copy in which its dependencies are built."""

    def setUp(self):
        super().setUp()
        self.charts = self.dir / "charts"
        shutil.copytree(CHARTS, self.charts, ignore=shutil.ignore_patterns("*.tgz"))
        self.identity("camera-1")

    def values(self, config=None, sidecar=None, **more):
        image = {"repository": "localhost/onvif-uplink", "tag": "1", "pullPolicy": "Never"}
        values = {"config": config or configuration(), "sidecar": {"image": image} | (sidecar or {}), "hostAliases": self.aliases,
                  "test": {"hostAliases": self.aliases}} | more
        file = self.dir / "values.json"
        file.write_text(json.dumps(values))
        return file

    def chart(self, name):
        self.helm("dependency", "build", self.charts / name)
        return self.charts / name

    def install(self, *flags, **values):
        """Installs or upgrades the release `cam` and waits until all is Ready; returns the address of its pod."""
        self.helm("upgrade", "--install", "cam", self.chart("onvif-uplink"), "--values", self.values(**values), "--wait",
                  "--timeout=60s", *flags)
        return self.camera()["status"]["podIP"]

    def camera(self):
        """The one pod of the release that is not about to end."""
        def pods():
            listed = self.kubectl("get", "pods", "-l", "app.kubernetes.io/instance=cam", "-o", "json")
            items = [pod for pod in json.loads(listed)["items"] if "deletionTimestamp" not in pod["metadata"]
                     and pod["metadata"].get("ownerReferences") and pod["status"].get("podIP")]
            return len(items) == 1 and items
        return wait_for("one pod of the release", pods)[0]

    def test_it_installs_the_emulator_passes_helm_test_and_goes_without_a_trace(self):
        self.online(self.install())
        self.reached()
        self.assertIn("preface", self.helm("test", "cam", "--timeout=40s", "--logs"), "each uplink is dialed")
        self.helm("uninstall", "cam", "--wait", "--timeout=60s")
        for kind in ("deployment", "role", "rolebinding"):
            self.assertEqual(self.kubectl("get", kind, "-o", "name"), "")

    def test_helm_test_fetches_a_picture_through_the_uplink_and_fails_without_one(self):
        test = {"hostAliases": self.aliases, "url": f"{self.front}/camera-1/snapshot.jpg"}
        self.install(test=test)
        self.assertRegex(self.helm("test", "cam", "--timeout=60s", "--logs"), r"200 OK: image/jpeg, \d{4,} bytes")
        self.install(test=test | {"url": f"{self.front}/camera-1/nothing-here"})
        with self.assertRaisesRegex(OSError, "404 Not Found"):
            self.helm("test", "cam", "--timeout=90s", "--logs")

    def test_the_plain_container_serves_as_well(self):
        self.online(self.install(sidecar={"mode": "container"} | self.image()))
        self.reached()

    def image(self):
        return {"image": {"repository": "localhost/onvif-uplink", "tag": "1", "pullPolicy": "Never"}}

    def test_a_camera_that_we_did_not_write_stands_beside_the_sidecar(self):
        context = {"allowPrivilegeEscalation": False, "runAsNonRoot": True, "capabilities": {"drop": ["ALL"]},
                   "seccompProfile": {"type": "RuntimeDefault"}}
        self.online(self.install(config=configuration(port=8000), camera={
            "image": "localhost/foreign-camera:1", "pullPolicy": "Never", "securityContext": context}))
        self.reached()

    def test_hot_values_restart_nothing_and_restart_only_values_do_under_a_running_download(self):
        for source in ("file", "api"):
            with self.subTest(source=source):
                sidecar = {"source": source} | self.image()
                address = self.install(sidecar=sidecar)
                since = self.online(address)["session"]["since"]
                before = self.camera()
                with Download(f"{self.front}/camera-1/stream.mjpeg") as download:
                    self.upgrade_hot(address, sidecar)
                    download.alive()
                    after = self.camera()
                    self.assertEqual(after["metadata"]["uid"], before["metadata"]["uid"])
                    self.assertEqual({entry["restartCount"] for entry in states(after).values()}, {0})
                    self.assertEqual(self.online(address)["session"]["since"], since)
                    address = self.install(config=second_device(), sidecar=sidecar | {"log": {"level": "debug"}})
                self.assertNotEqual(self.camera()["metadata"]["uid"], before["metadata"]["uid"])
                self.online(address)
                with Download(f"{self.front}/camera-1/stream.mjpeg") as download:
                    download.alive()

    def upgrade_hot(self, address, sidecar):
        """`helm upgrade` with another device, which the kubelet brings into the pod at its next look."""
        generation = self.status(address)["generation"]
        self.install(config=second_device(), sidecar=sidecar)
        self.kubectl("annotate", "pod", self.camera()["metadata"]["name"], "refresh=now")
        wait_for("the upgrade is in force", lambda: self.status(address)["generation"] > generation)

    def test_a_rollout_restart_brings_the_uplink_back(self):
        self.online(self.install())
        before = self.camera()["metadata"]["uid"]
        self.kubectl("rollout", "restart", "deployment", "-l", "app.kubernetes.io/instance=cam")
        wait_for("another pod", lambda: self.camera()["metadata"]["uid"] != before, 60)
        self.online(wait_for("its address", lambda: self.camera()["status"]["podIP"]), seconds=60)
        self.reached()

    def test_over_the_api_the_charts_own_role_is_enough(self):
        address = self.install(sidecar={"source": "api", "secrets": {"mode": "api"}} | self.image())
        self.online(address)
        with Download(f"{self.front}/camera-1/stream.mjpeg") as download:
            generation = self.status(address)["generation"]
            text = json.dumps(configuration() | {"roles": {"Guards": {"functions": ["tdc:LockDoor"]}}})
            name = json.loads(self.kubectl("get", "configmap", "-l", "app.kubernetes.io/instance=cam", "-o", "json"))["items"][0]
            self.kubectl("patch", "configmap", name["metadata"]["name"], "--patch", json.dumps({"data": {"uplinks.yaml": text}}))
            wait_for("the edit is in force", lambda: self.status(address)["generation"] > generation)
            download.alive()
        refused = [entry for entry in NODE.asked(f"{self.namespace}:{self.camera()['spec']['serviceAccountName']}")
                   if entry["responseStatus"]["code"] == 403]
        self.assertEqual(refused, [])

    def test_the_gateway_chart_lets_a_camera_in(self):
        self.pki.server("cloud", f"DNS:{GATEWAY}")
        pair = self.pair("cloud")
        self.secret("cloud-tls", {name: pair[name] for name in ("tls.crt", "tls.key")})
        self.secret("cloud-clients", {"ca.crt": pair["ca.crt"]})
        # No balancer gives an address to a Service here, and Helm would wait for one.
        values = {"tls": {"existingSecret": "cloud-tls"}, "clientCA": {"existingSecret": "cloud-clients"}, "front": {"open": True},
                  "service": {"type": "ClusterIP"}} | self.image()
        file = self.dir / "cloud.json"
        file.write_text(json.dumps(values))
        self.helm("upgrade", "--install", "cloud", self.chart("onvif-uplink-gateway"), "--values", file, "--wait", "--timeout=60s")
        pods = json.loads(self.kubectl("get", "pods", "-l", "app.kubernetes.io/instance=cloud", "-o", "json"))["items"]
        address = pods[0]["status"]["podIP"]
        self.front, self.aliases = f"http://{address}:8800", [{"ip": address, "hostnames": [GATEWAY]}]
        self.online(self.install())
        self.reached()
        self.helm("uninstall", "cloud", "--wait", "--timeout=60s")


@unittest.skipUnless(CHARTS.exists(), "there are no charts in this working copy")
class DryRun(Case):
    def test_the_api_server_takes_everything_that_the_charts_render(self):
        charts = self.dir / "charts"
        shutil.copytree(CHARTS, charts, ignore=shutil.ignore_patterns("*.tgz"))
        count = 0
        for chart in sorted(path.parent for path in charts.glob("**/Chart.yaml")):
            if "type: library" in (chart / "Chart.yaml").read_text():
                continue
            self.helm("dependency", "build", chart)
            for values in sorted(chart.glob("ci/*-values.yaml")) or [None]:
                with self.subTest(chart=chart.name, values=values and values.name):
                    text = self.helm("template", "cam", chart, *(["--values", values] if values else []))
                    objects = [part for part in text.split("\n---\n") if not any(f"apiVersion: {group}" in part for group in FOREIGN)]
                    self.kubectl("apply", "--dry-run=server", "-f", "-", input="\n---\n".join(objects))
                    count += 1
        self.assertGreater(count, 2)
