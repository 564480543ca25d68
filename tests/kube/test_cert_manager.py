"""cert-manager itself: the charts ask it for certificates, and what it renews takes effect without a lost request."""

import datetime
import json

import node
from charts import GATEWAY_RELEASE, ChartCase, configuration
from kube import GATEWAY, NODE, Asking
from support import wait_for

ISSUER = {"name": "authority", "kind": "Issuer"}
CLIENT = "cam-client"


class CertManager(ChartCase):
    @classmethod
    def setUpClass(cls):
        NODE.kubectl("apply", "--server-side", "-f", node.DEFINITIONS)
        NODE.kubectl("wait", "--for=condition=Established", "--timeout=30s", "-f", node.DEFINITIONS)
        NODE.run("cert-manager")
        cls.addClassCleanup(NODE.kill, "cert-manager")

    def setUp(self):
        super().setUp()
        authority = {"tls.crt": self.pki.path("ca.crt").read_text(), "tls.key": self.pki.path("ca.key").read_text()}
        self.secret("authority", authority)
        self.apply({"apiVersion": "cert-manager.io/v1", "kind": "Issuer", "metadata": {"name": "authority"},
                    "spec": {"ca": {"secretName": "authority"}}})

    def camera_with(self, **sidecar):
        """Installs the chart, whose Certificate nobody has issued yet; returns the address of its pod."""
        certificate = {"enabled": True, "secretName": CLIENT, "commonName": "camera-1", "issuerRef": ISSUER}
        return self.install(config=configuration(secret=CLIENT), certificate=certificate, sidecar=self.image() | sidecar)

    def refreshed(self, address, before=None):
        """Waits for an uplink with another certificate than before; the kubelet is made to look at the pod's volumes meanwhile."""
        def entry():
            self.kubectl("annotate", "pod", self.camera()["metadata"]["name"], "--overwrite", f"refresh={datetime.datetime.now().timestamp()}")
            (entry,) = self.status(address)["uplinks"]
            return entry["status"] == "Online" and entry["certificateExpiry"] != (before or {}).get("certificateExpiry") and entry
        return wait_for("an uplink by the new certificate", entry, 90)

    def renew(self):
        """As `cmctl renew` does."""
        (certificate,) = json.loads(self.kubectl("get", "certificates", "-l", "app.kubernetes.io/instance=cam", "-o", "json"))["items"]
        condition = {"type": "Issuing", "status": "True", "reason": "ManuallyTriggered", "message": "renewed by a test",
                     "lastTransitionTime": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")}
        conditions = [*certificate["status"]["conditions"], condition]
        self.kubectl("patch", "certificate", certificate["metadata"]["name"], "--subresource=status", "--type=merge", "--patch",
                     json.dumps({"status": {"conditions": conditions}}))

    def renewed_without_a_lost_request(self, address):
        before = self.refreshed(address)
        self.reached()
        with Asking(self.picture) as asking:
            self.renew()
            self.refreshed(address, before)
            asking.more()
        self.assertEqual(asking.lost, [], f"of {asking.count} requests")

    def test_a_certificate_that_it_issues_into_a_mounted_secret_is_used_and_renewed_without_a_lost_request(self):
        self.renewed_without_a_lost_request(self.camera_with())

    def test_one_that_is_followed_over_the_api_is_used_and_renewed_without_a_lost_request(self):
        self.renewed_without_a_lost_request(self.camera_with(source="api", secrets={"mode": "api"}))

    def test_the_gateway_stands_on_a_certificate_that_it_issues(self):
        self.secret("cloud-clients", {"ca.crt": self.pki.path("ca.crt").read_text()})
        self.install_gateway(certificate={"enabled": True, "dnsNames": [GATEWAY], "issuerRef": ISSUER},
                             clientCA={"existingSecret": "cloud-clients"})
        self.refreshed(self.camera_with())
        self.reached()
        self.assertIn(f"{GATEWAY_RELEASE}-", self.kubectl("get", "certificates", "-o", "name"))
