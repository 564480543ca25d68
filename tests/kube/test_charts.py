"""The charts as a platform team uses them: installed by Helm on a real node, upgraded, tested, removed."""

import json
import shutil

from charts import CHARTS, GATEWAY_RELEASE, ChartCase, configuration
from kube import GATEWAY, NODE, Case, Download, states
from support import wait_for

# Operators of others that a node of the tests does not have; what they define is checked offline (tests/charts), and cert-manager's in a
# test of its own.
FOREIGN = ("monitoring.coreos.com/", "cert-manager.io/")


def second_device():
    """The same with a device beside, which touches no uplink."""
    document = configuration()
    document["devices"].append({"name": "camera-2", "http": "http://127.0.0.1:8081", "uplinks": []})
    return document


class Chart(ChartCase):
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

    def test_a_rollout_restart_brings_the_uplink_back_and_does_not_touch_another_pod(self):
        self.online(self.install())
        # Another device, in a pod beside.
        self.online(self.camera_pod("other", devices=("camera-2",)), "camera-2")
        before = self.camera()["metadata"]["uid"]
        with Download(f"{self.front}/camera-2/stream.mjpeg") as download:
            self.kubectl("rollout", "restart", "deployment", "-l", "app.kubernetes.io/instance=cam")
            wait_for("another pod", lambda: self.camera()["metadata"]["uid"] != before, 60)
            self.online(wait_for("its address", lambda: self.camera()["status"]["podIP"]), seconds=60)
            self.reached()
            download.alive()

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
        self.install_gateway(tls={"existingSecret": "cloud-tls"}, clientCA={"existingSecret": "cloud-clients"})
        self.online(self.install())
        self.reached()
        self.helm("uninstall", GATEWAY_RELEASE, "--wait", "--timeout=60s")


class HelmThree(ChartCase):
    HELM = "helm3"

    def test_it_installs_upgrades_tests_and_uninstalls_the_same_charts(self):
        self.assertRegex(self.helm("version", "--short"), r"^v3\.")
        self.online(self.install())
        before = self.camera()["metadata"]["uid"]
        address = self.install(config=second_device())
        self.assertEqual(self.camera()["metadata"]["uid"], before, "hot values restart nothing")
        self.online(address)
        self.reached()
        self.helm("test", "cam", "--timeout=40s")
        self.helm("uninstall", "cam", "--wait", "--timeout=60s")
        self.assertEqual(self.kubectl("get", "deployments,roles,rolebindings,configmaps", "-l", "app.kubernetes.io/instance=cam", "-o", "name"), "")


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
