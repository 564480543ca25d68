"""The sidecar that follows its ConfigMap over the API of a real API server, with a Role for that one name and nothing more."""

import time

from api import READ, ApiCase, Client, rule
from kube import NODE, Download, configuration
from support import get, wait_for

EDITS = 1000
REST_SECONDS = 15  # shorter than a watch lasts
# What a sidecar may hold more after so many edits than before: pages of the allocator, no documents.
GROWTH_BYTES = 16 << 20


def two(level="User"):
    return configuration("camera-1", ("camera-2", level))


def resident(address):
    return next(float(line.split()[1]) for line in get(f"http://{address}:9600/metrics").decode().splitlines()
                if line.startswith("process_resident_memory_bytes "))


class Api(ApiCase):
    def test_a_role_of_one_name_is_enough_and_twenty_edits_do_not_touch_a_download(self):
        address = self.api_pod(devices=("camera-1", "camera-2"))
        since = self.online(address)["session"]["since"]
        with Download(f"{self.front}/camera-1/stream.mjpeg") as download:
            for number in range(20):
                generation = self.status(address)["generation"]
                self.edit(two(["Operator", "User"][number % 2]))
                wait_for(f"edit {number + 1} is in force", lambda: self.status(address)["generation"] > generation, 5)
                download.alive()
        self.assertEqual(self.online(address)["session"]["since"], since, "the untouched uplink was connected anew")

    def test_what_the_role_does_not_say_is_refused(self):
        self.api_pod()
        mine = Client(self.kubectl("create", "token", "camera", "--duration=10m").strip())
        here = f"/api/v1/namespaces/{self.namespace}"
        self.config_map("x", name="others")
        self.assertEqual(mine.ask("GET", f"{here}/configmaps/uplinks")[0], 200)
        self.assertEqual(mine.ask("GET", f"{here}/configmaps?fieldSelector=metadata.name%3Duplinks")[0], 200)
        for method, path, body in (
                ("GET", f"{here}/configmaps", None), ("GET", f"{here}/configmaps/others", None), ("GET", f"{here}/secrets/camera-1", None),
                ("GET", f"{here}/secrets", None), ("GET", f"{here}/pods", None), ("PATCH", f"{here}/configmaps/uplinks", {"data": {}}),
                ("DELETE", f"{here}/configmaps/uplinks", None), ("GET", "/api/v1/namespaces/kube-system/configmaps", None)):
            with self.subTest(method=method, path=path):
                self.assertEqual(mine.ask(method, path, body)[0], 403)

    def test_it_asks_for_nothing_that_its_role_does_not_give_and_polls_nothing(self):
        self.online(self.api_pod())
        account = f"{self.namespace}:camera"
        before = wait_for("the watch stands", lambda: [e for e in NODE.asked(account) if e["verb"] == "watch"] and NODE.asked(account))
        time.sleep(REST_SECONDS)  # the time without requests is what is measured
        entries = NODE.asked(account)
        self.assertEqual({e["responseStatus"]["code"] for e in entries}, {200}, entries)
        self.assertEqual({(e["objectRef"]["resource"], e["objectRef"].get("name")) for e in entries}, {("configmaps", "uplinks")})
        self.assertLessEqual(len(entries) - len(before), 2, "more than the end of one watch and the beginning of another")

    def test_a_bad_edit_keeps_the_last_good_set_until_it_is_mended(self):
        address = self.api_pod()
        self.online(address)
        with Download(f"{self.front}/camera-1/stream.mjpeg") as download:
            for text, word in (("devices: [ {", "unclosed"), ("devices: []\n---\ndevices: []\n", "document"),
                               ("devices: []\nnoSuchKey: 1\n", "noSuchKey"),
                               ("apiVersion: v1\nkind: Secret\ndata: {}\n", "this is a Secret of Kubernetes")):
                with self.subTest(text=text):
                    self.edit(text)
                    wait_for(f"the error names {word}", lambda: word in self.errors(address))
                    download.alive()
            self.edit(configuration("camera-1"))
            wait_for("the error is gone", lambda: self.errors(address) == "[]")
            download.alive()

    def test_a_configmap_without_the_key_or_gone_is_named_and_the_last_good_set_goes_on(self):
        address = self.api_pod()
        since = self.online(address)["session"]["since"]
        for change, word in ((lambda: self.kubectl("patch", "configmap", "uplinks", "--type=json",
                                                   '--patch=[{"op":"move","from":"/data/uplinks.yaml","path":"/data/other.yaml"}]'),
                              "other.yaml"),
                             (lambda: self.kubectl("delete", "configmap", "uplinks"), f"{self.namespace}/uplinks")):
            change()
            wait_for(f"the error names {word}", lambda: word in self.errors(address))
            self.reached()
        self.config_map(configuration("camera-1"))
        wait_for("the error is gone", lambda: self.errors(address) == "[]")
        self.assertEqual(self.online(address)["session"]["since"], since)

    def test_a_role_that_lacks_a_verb_is_named_and_its_mend_seen(self):
        address = self.api_pod(rules=[rule("configmaps", "others")])
        wait_for("the error names the verb and the object", lambda: all(
            word in self.errors(address) for word in ("configmaps", "uplinks", self.namespace)))
        self.grant(rule("configmaps", "uplinks", verbs=READ))
        self.online(address, seconds=90)

    def test_a_killed_api_server_changes_nothing_and_edits_are_seen_after_its_return(self):
        address = self.api_pod(devices=("camera-1", "camera-2"))
        since = self.online(address)["session"]["since"]
        with Download(f"{self.front}/camera-1/stream.mjpeg") as download:
            NODE.kill("kube-apiserver")
            download.alive()
            NODE.run("kube-apiserver")
            NODE.ready()
            generation = self.status(address)["generation"]
            self.edit(two("Operator"))
            wait_for("the edit is in force", lambda: self.status(address)["generation"] > generation, 70)
            download.alive()
        self.assertEqual(self.online(address)["session"]["since"], since)

    def test_a_thousand_edits_leave_the_newest_in_force_and_no_memory_behind(self):
        address = self.api_pod(devices=("camera-1", "camera-2"))
        since = self.online(address)["session"]["since"]
        before = resident(address)
        with Download(f"{self.front}/camera-1/stream.mjpeg") as download:
            for number in range(EDITS):
                self.edit(two(["Operator", "User"][number % 2]))
            self.edit(configuration("camera-1"))
            wait_for("the newest edit is in force", lambda: [e["device"] for e in self.status(address)["uplinks"]] == ["camera-1"])
            download.alive()
        self.assertLess(resident(address) - before, GROWTH_BYTES)
        self.assertEqual(self.online(address)["session"]["since"], since)

    def test_a_token_that_expired_is_read_again_when_the_kubelet_brings_a_new_one(self):
        self.grant(rule("configmaps", "uplinks"))
        # The files of the ServiceAccount come from a Secret here, so that the test can rotate them.
        authority = self.object("configmap", "kube-root-ca.crt")["data"]["ca.crt"]
        token = self.short_token(15)
        files = {"ca.crt": authority, "namespace": self.namespace}
        self.secret("api-token", files | {"token": token})
        address = self.api_pod(token={"name": "api", "secret": {"secretName": "api-token"}})
        self.online(address)
        with Download(f"{self.front}/camera-1/stream.mjpeg") as download:
            # A watch that stands outlives its token; a new connection does not.
            wait_for("the token expired", lambda: Client(token).ask(
                "GET", f"/api/v1/namespaces/{self.namespace}/configmaps/uplinks")[0] == 401, 40)
            NODE.kill("kube-apiserver")
            NODE.run("kube-apiserver")
            NODE.ready()
            wait_for("the refusal is told", lambda: "token" in self.errors(address), 60)
            download.alive()
            self.secret("api-token", files | {"token": self.short_token(3600)})
            self.refresh()
            wait_for("the error is gone", lambda: self.errors(address) == "[]", 120)
            download.alive()
