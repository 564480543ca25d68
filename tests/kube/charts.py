"""What the tests of the charts on the node share: values, installation by Helm, the pod of a release."""

import json
import shutil

from api import ApiCase
from kube import GATEWAY, NODE, UPLINK
from support import ROOT, wait_for

CHARTS = ROOT / "charts"
GATEWAY_RELEASE = "cloud"


def configuration(level="Administrator", port=8080, secret="camera-1"):
    """One device; `secret` has the certificate of its uplink and the authority of the gateway's."""
    return {"devices": [{"name": "camera-1", "http": f"http://127.0.0.1:{port}", "uplinks": [
                {"remoteAddress": UPLINK, "certificateID": "own", "userLevel": level, "certPathValidationPolicyID": "ca"}]}],
            "certificates": {"own": {"secretName": secret}}, "certPathValidationPolicies": {"ca": {"secretName": secret}}}


class ChartCase(ApiCase):
    """The charts, from a copy in which their dependencies are built."""

    HELM = "helm"

    def setUp(self):
        super().setUp()
        self.charts = self.dir / "charts"
        shutil.copytree(CHARTS, self.charts, ignore=shutil.ignore_patterns("*.tgz"))
        self.identity("camera-1")

    def values(self, config=None, sidecar=None, **more):
        values = {"config": config or configuration(), "sidecar": self.image() | (sidecar or {}), "hostAliases": self.aliases,
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

    def helm(self, *arguments, **options):
        return NODE.command(self.HELM, "--namespace", self.namespace, *arguments, **{"timeout": 150} | options)

    def image(self):
        return {"image": {"repository": "localhost/onvif-uplink", "tag": "1", "pullPolicy": "Never"}}

    def install_gateway(self, **values):
        """Installs the gateway's chart in the place of the gateway that each test has."""
        # No balancer gives an address to a Service here, and Helm would wait for one.
        values = {"front": {"open": True}, "service": {"type": "ClusterIP"}} | self.image() | values
        file = self.dir / "cloud.json"
        file.write_text(json.dumps(values))
        self.helm("upgrade", "--install", GATEWAY_RELEASE, self.chart("onvif-uplink-gateway"), "--values", file, "--wait", "--timeout=60s")
        pods = json.loads(self.kubectl("get", "pods", "-l", f"app.kubernetes.io/instance={GATEWAY_RELEASE}", "-o", "json"))["items"]
        address = pods[0]["status"]["podIP"]
        self.front, self.aliases = f"http://{address}:8800", [{"ip": address, "hostnames": [GATEWAY]}]
