"""An API server in trouble that the sidecar follows its ConfigMap at: what was good stays in force, the trouble is told, requests do not storm,
and the first edit after it counts."""

import base64

from api import ApiCase
from kube import Download, configuration
from relay import Relay
from support import get, wait_for

# A trouble is told after 10 s, because API servers restart; a silent one is given 15 s for each answer.
TOLD_SECONDS = 60
# Attempts come after 0.8 s, 1.6 s, 3.2 s … of 30 s at most.
MENDED_SECONDS = 60
ASKED_MAX = 12


def two(level):
    return configuration("camera-1", ("camera-2", level))


class Faults(ApiCase):
    def setUp(self):
        super().setUp()
        self.relay = Relay()
        self.addCleanup(self.relay.close)
        self.address = self.api_pod(devices=("camera-1", "camera-2"), environment=self.relay.environment())
        self.since = self.online(self.address)["session"]["since"]

    def told(self, word):
        wait_for(f"{word} is told", lambda: word in self.errors(self.address), TOLD_SECONDS)

    def edit_counts(self, seconds=MENDED_SECONDS):
        """An edit made now is in force after a while, with nothing wrong any more."""
        generation = self.status(self.address)["generation"]
        self.edit(two(["Operator", "User"][generation % 2]))
        wait_for("the edit is in force", lambda: self.status(self.address)["generation"] > generation, seconds)
        self.assertEqual(self.errors(self.address), "[]")

    def endures(self, word):
        """The trouble that has just begun is told, costs nothing but news, and is over when it is mended."""
        with Download(f"{self.front}/camera-1/stream.mjpeg") as download:
            self.told(word)
            download.alive()
            self.assertIn("onvif_uplink_config_last_reload_successful 0", get(f"http://{self.address}:9600/metrics").decode())
            self.assertLessEqual(self.relay.asked, ASKED_MAX, "a storm of requests")
            self.relay.mend()
            self.edit_counts()
            download.alive()
        self.assertEqual(self.online(self.address)["session"]["since"], self.since, "the untouched uplink was connected anew")

    def test_one_that_has_too_many_requests_is_left_in_peace_and_followed_again_afterwards(self):
        self.relay.answer(429, retry_after=1)
        self.endures("too many requests (429)")

    def test_one_that_answers_500_costs_nothing_but_news(self):
        self.relay.answer(500)
        self.endures("the API server answered 500")

    def test_one_that_takes_requests_and_says_nothing_is_given_up_and_asked_again(self):
        self.relay.hang()
        self.endures("did not answer within 15 s")

    def test_a_watch_whose_connection_is_dead_is_noticed_by_its_silence(self):
        self.relay.freeze()
        with Download(f"{self.front}/camera-1/stream.mjpeg") as download:
            # No bookmark for 90 s; then one attempt later.
            self.edit_counts(150)
            download.alive()


class Limits(ApiCase):
    def setUp(self):
        super().setUp()
        self.address = self.api_pod(devices=("camera-1", "camera-2"))
        self.since = self.online(self.address)["session"]["since"]

    def patch(self, body):
        return self.client.ask("PATCH", f"/api/v1/namespaces/{self.namespace}/configmaps/uplinks", body)

    def generation(self):
        return self.status(self.address)["generation"]

    def padded(self, length):
        """A good document of this many bytes."""
        text = two("User") + "\n"
        return text + ("# " + "x" * 97 + "\n") * ((length - len(text)) // 100)

    def test_a_document_near_one_mebibyte_takes_effect_and_a_larger_one_is_refused_by_the_api_server(self):
        before = self.generation()
        self.edit(self.padded((1 << 20) - 4096))
        wait_for("it is in force", lambda: self.generation() > before)
        before = self.generation()
        code, answer = self.patch({"data": {"uplinks.yaml": self.padded((1 << 20) + 4096)}})
        self.assertEqual(code, 422, answer)
        self.assertIn("Too long", answer)
        self.edit(two("Operator"))
        wait_for("the next edit is in force", lambda: self.generation() == before + 1)

    def test_a_document_under_binary_data_is_told_with_the_mend(self):
        data = base64.b64encode(two("User").encode()).decode()
        self.assertEqual(self.patch({"data": None, "binaryData": {"uplinks.yaml": data}})[0], 200)
        wait_for("it is told", lambda: "under binaryData" in self.errors(self.address))
        self.stays()

    def test_a_key_that_is_missing_is_told_with_those_that_are_there(self):
        self.assertEqual(self.patch({"data": {"uplinks.yaml": None, "uplink.yaml": two("User")}})[0], 200)
        wait_for("it is told", lambda: "no key `uplinks.yaml`; it has uplink.yaml" in self.errors(self.address))
        self.stays()

    def test_a_configmap_that_is_deleted_is_not_taken_for_an_empty_one(self):
        self.kubectl("delete", "configmap", "uplinks")
        wait_for("it is told", lambda: "there is no such ConfigMap" in self.errors(self.address))
        self.stays()
        before = self.generation()
        self.config_map(configuration("camera-1"))
        wait_for("the new one is in force", lambda: self.generation() > before)
        self.assertEqual(self.errors(self.address), "[]")

    def stays(self):
        """The last good set is in force, by the same session."""
        self.assertEqual(self.online(self.address)["session"]["since"], self.since)
        self.reached()
