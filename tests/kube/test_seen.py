"""What a person sees with kubectl: Events of the pod, the status ConfigMap; and what comes back into the ConfigMap by SetUplink."""

import json
import threading
import urllib.error
import urllib.request

from api import ApiCase, rule
from kube import TLS, UPLINK, configuration
from support import OPENER, wait_for

EVENTS = {"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch"]}
WRITE = ["get", "list", "watch", "patch"]
SOAP = ('<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope" xmlns:u="http://www.onvif.org/ver10/uplink/wsdl"><s:Body>'
        "{}</s:Body></s:Envelope>")
SECOND = f"{UPLINK}-second"
SETS = 6  # uplinks that are set while somebody else edits


def set_uplink(level, remote=SECOND, device="camera-1", policy="ca"):
    return SOAP.format(f"<u:SetUplink><u:Configuration><u:RemoteAddress>{remote}</u:RemoteAddress><u:CertificateID>{device}"
                       f"</u:CertificateID><u:UserLevel>{level}</u:UserLevel><u:CertPathValidationPolicyID>{policy}"
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

    def test_a_bad_edit_is_told_by_its_first_error_with_line_key_and_mend(self):
        address = self.api_pod("--events", "pod", rules=[rule("configmaps", "uplinks"), EVENTS])
        self.online(address)
        self.edit("devices:\n  - name: camera-1\n    htpp: http://127.0.0.1:8080\n    uplinks: []\n")
        told = wait_for("ConfigurationRefused", lambda: [one for one in self.describe().splitlines() if "ConfigurationRefused" in one])[0]
        self.assertIn(f"{self.namespace}/uplinks/uplinks.yaml:3:5: devices[0].htpp: unknown key; did you mean `http`?; "
                      "the last good one stays in force", told)

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

    def test_the_annotation_of_the_pod_is_one_line_and_needs_a_rule_of_its_own(self):
        self.online(self.api_pod("--status-annotation"))
        missing = "resources: [pods], verbs: [patch]"
        wait_for("the sentence gives the rule", lambda: missing in self.kubectl("logs", "camera", "-c", "onvif-uplink"))
        self.reached()
        self.grant(rule("configmaps", "uplinks"), rule("pods", verbs=["patch"]))

        def line():
            return self.object("pod", "camera")["metadata"].get("annotations", {}).get("onvif-uplink/status")
        self.assertEqual(wait_for("the annotation", line, 60), "1 of 1 uplinks Online")

    def test_a_certificate_that_ends_soon_is_an_event(self):
        address = self.api_pod("--events", "pod", rules=[rule("configmaps", "uplinks"), EVENTS])
        self.online(address)
        self.pki.leaf("camera-1", "/CN=camera-1", "DNS:camera-1", "clientAuth", days=5)
        self.secret("camera-1", self.pair("camera-1"))
        self.refresh()
        line = wait_for("CertificateExpiring", lambda: [one for one in self.describe().splitlines() if "CertificateExpiring" in one], 60)[0]
        self.assertRegex(line, r"Warning +CertificateExpiring .*camera-1 .*the client certificate ends in [45] d; issue a new one")


class WriteBack(ApiCase):
    def soap(self, body, device="camera-1"):
        """Status and answer of the uplink configuration service, through gateway and uplink."""
        request = urllib.request.Request(f"{self.front}/{device}/onvif/uplink_service", body.encode(),
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

    def edit_by_hand(self, number):
        """As `kubectl edit` does: reads, changes one line, and writes only what it read; anew when somebody was faster."""
        path = f"/api/v1/namespaces/{self.namespace}/configmaps/uplinks"
        while True:
            map_ = json.loads(self.client.ask("GET", path)[1])
            map_["data"]["uplinks.yaml"] = f"# by hand {number}\n" + map_["data"]["uplinks.yaml"]
            status, answer = self.client.ask("PUT", path, map_, "application/json")
            if status == 200:
                return
            self.assertEqual(status, 409, answer)

    def test_two_writers_of_one_key_lose_no_edit_of_each_other(self):
        self.online(self.api_pod("--write-back", rules=[rule("configmaps", "uplinks", verbs=WRITE)]))
        done, failed = threading.Event(), []

        def by_hand():
            number = 0
            try:
                while not done.is_set():
                    self.edit_by_hand(number)
                    number += 1
            except (OSError, AssertionError) as error:
                failed.append(error)
            self.edits = number

        thread = threading.Thread(target=by_hand)
        thread.start()
        try:
            answers = {remote: self.soap(set_uplink("Administrator", remote)) for remote in (f"{UPLINK}-{number}" for number in range(SETS))}
        finally:
            done.set()
            thread.join(30)
        self.assertEqual(failed, [])
        text = self.document()
        self.assertGreater(self.edits, SETS, "there was no contention")
        self.assertEqual([number for number in range(self.edits) if f"# by hand {number}\n" not in text], [])
        for remote, (status, answer) in answers.items():
            with self.subTest(remote=remote):
                # One that lost against the other each time says so, and is not written.
                self.assertEqual(remote in text, status == 200, answer)
        self.assertIn(200, [status for status, _ in answers.values()])
        # The last one who wrote owns the key.
        status, answer = self.soap(set_uplink("Administrator"))
        self.assertEqual(status, 200, answer)
        fields = json.loads(self.client.ask("GET", f"/api/v1/namespaces/{self.namespace}/configmaps/uplinks")[1])["metadata"]["managedFields"]
        self.assertIn("onvif-uplink-config", [entry["manager"] for entry in fields])

    def test_two_sidecars_of_one_configmap_lose_no_change_of_each_other(self):
        # Each has the certificate of one device only, and so brings up that one.
        document = json.loads(configuration("camera-1", "camera-2"))
        document["devices"][1]["uplinks"][0]["certPathValidationPolicyID"] = "ca-2"
        document["certPathValidationPolicies"]["ca-2"] = {"trustAnchorFiles": [f"{TLS}/camera-2/ca.crt"]}
        policies = {"camera-1": "ca", "camera-2": "ca-2"}
        for device in policies:
            address = self.api_pod("--write-back", name=device, devices=(device,), text=json.dumps(document),
                                   rules=[rule("configmaps", "uplinks", verbs=WRITE)])
            self.online(address, device)
        answers = {}

        def change(device):
            for number in range(SETS):
                remote = f"{UPLINK}-{device}-{number}"
                answers[remote] = self.soap(set_uplink("Administrator", remote, device, policies[device]), device)

        threads = [threading.Thread(target=change, args=(device,)) for device in policies]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        text = self.document()
        self.assertEqual(len(answers), 2 * SETS)
        for remote, (status, answer) in answers.items():
            with self.subTest(remote=remote):
                self.assertEqual(remote in text, status == 200, answer)
        self.assertGreater([status for status, _ in answers.values()].count(200), SETS)

    def test_it_is_refused_without_the_flag_and_without_the_right(self):
        for flags, word in ((), "--write-back"), (("--write-back",), "patch"):
            with self.subTest(flags=flags):
                self.online(self.api_pod(*flags))
                before = self.document()
                status, answer = self.soap(set_uplink("Administrator"))
                self.assertNotEqual(status, 200)
                self.assertIn(word, answer)
                self.assertEqual(self.document(), before)
                self.kubectl("delete", "pod", "camera", "--grace-period=1")
