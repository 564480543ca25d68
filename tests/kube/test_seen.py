"""What a person sees with kubectl: Events of the pod, the status ConfigMap; and what comes back into the ConfigMap by SetUplink."""

import json
import urllib.error
import urllib.request

from api import ApiCase, rule
from kube import UPLINK, configuration
from support import OPENER, wait_for

EVENTS = {"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch"]}
WRITE = ["get", "list", "watch", "patch"]
SOAP = ('<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope" xmlns:u="http://www.onvif.org/ver10/uplink/wsdl"><s:Body>'
        "{}</s:Body></s:Envelope>")
SECOND = f"{UPLINK}-second"


def set_uplink(level):
    return SOAP.format(f"<u:SetUplink><u:Configuration><u:RemoteAddress>{SECOND}</u:RemoteAddress><u:CertificateID>camera-1"
                       f"</u:CertificateID><u:UserLevel>{level}</u:UserLevel><u:CertPathValidationPolicyID>ca"
                       "</u:CertPathValidationPolicyID></u:Configuration></u:SetUplink>")


class Seen(ApiCase):
    def describe(self):
        return self.kubectl("describe", "pod", "camera")

    def test_events_tell_the_life_of_an_uplink_where_kubectl_describe_shows_them(self):
        address = self.api_pod("--events", "pod", rules=[rule("configmaps", "uplinks"), EVENTS])
        self.online(address)
        wait_for("UplinkOnline", lambda: "UplinkOnline" in self.describe())
        self.edit("devices: [ {")
        wait_for("ConfigurationRefused", lambda: "ConfigurationRefused" in self.describe())
        self.edit(configuration("camera-1"))
        self.kubectl("delete", "pod", "gateway", "--grace-period=1", "--wait=false")
        line = wait_for("UplinkOffline", lambda: [line for line in self.describe().splitlines() if "UplinkOffline" in line])[0]
        self.assertIn("Warning", line)

    def test_a_role_without_events_costs_nothing_but_the_events(self):
        address = self.api_pod("--events", "pod")
        self.online(address)
        self.reached()
        self.edit("devices: [ {")
        wait_for("the error is told", lambda: self.errors(address) != "[]")
        self.edit(configuration("camera-1"))
        wait_for("the error is gone", lambda: self.errors(address) == "[]")
        self.assertNotIn("UplinkOnline", self.describe())
        self.assertEqual(self.object("pod", "camera")["status"]["initContainerStatuses"][0]["restartCount"], 0)

    def test_the_status_configmap_follows_the_uplinks(self):
        rules = [rule("configmaps", "uplinks"), rule("configmaps", "camera-status", verbs=["patch"]),
                 rule("configmaps", verbs=["create"])]
        self.online(self.api_pod("--status-configmap", "camera-status", rules=rules))

        def states():
            (text,) = self.object("configmap", "camera-status")["data"].values()
            return [entry["status"] for entry in json.loads(text)["uplinks"]]
        wait_for("Online", lambda: states() == ["Online"])
        self.edit("devices: []")
        wait_for("no uplinks", lambda: states() == [])


class WriteBack(ApiCase):
    def soap(self, body):
        """Status and answer of the uplink configuration service, through gateway and uplink."""
        request = urllib.request.Request(f"{self.front}/camera-1/onvif/uplink_service", body.encode(),
                                         {"Content-Type": "application/soap+xml; charset=utf-8"})
        try:
            with OPENER.open(request, timeout=15) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def document(self):
        return self.object("configmap", "uplinks")["data"]["uplinks.yaml"]

    def test_setuplink_writes_into_the_configmap_beside_what_others_edit(self):
        address = self.api_pod("--write-back", rules=[rule("configmaps", "uplinks", verbs=WRITE)],
                               text="# by hand\n" + configuration("camera-1"))
        self.online(address)
        self.kubectl("patch", "configmap", "uplinks", "--patch", '{"data":{"notes":"of others"}}')
        # The newest session of a device takes its requests: DeleteUplink may come through the second uplink.
        status, answer = self.soap(set_uplink("Administrator"))
        self.assertEqual(status, 200, answer)
        self.assertIn(SECOND, self.document())
        self.assertTrue(self.document().startswith("# by hand\n"))
        self.assertEqual(self.object("configmap", "uplinks")["data"]["notes"], "of others")
        wait_for("the second uplink runs", lambda: len(self.status(address)["uplinks"]) == 2)
        status, answer = self.soap(SOAP.format(f"<u:DeleteUplink><u:RemoteAddress>{SECOND}</u:RemoteAddress></u:DeleteUplink>"))
        self.assertEqual(status, 200, answer)
        self.assertNotIn(SECOND, self.document())

    def test_it_is_refused_without_the_flag_and_without_the_right(self):
        for flags, word in ((), "--write-back"), (("--write-back",), "patch"):
            with self.subTest(flags=flags):
                self.online(self.api_pod(*flags))
                before = self.document()
                status, answer = self.soap(set_uplink("User"))
                self.assertNotEqual(status, 200)
                self.assertIn(word, answer)
                self.assertEqual(self.document(), before)
                self.kubectl("delete", "pod", "camera", "--grace-period=1")
