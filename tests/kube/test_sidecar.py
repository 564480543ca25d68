"""The sidecar in a pod, following a mounted ConfigMap: as native sidecar and as plain container, through edits, rotations, the
death of its neighbour and its own end."""

import json

from kube import NODE, Asking, Case, Download, camera, configuration, container, named, states
from support import wait_for


class Sidecar(Case):
    def setUp(self):
        super().setUp()
        self.gateway()

    def test_a_native_sidecar_starts_before_the_camera_and_brings_its_picture(self):
        address = self.camera_pod()
        self.online(address)
        self.reached()
        entries = states(self.object("pod", "camera"))
        started = {name: entry["state"]["running"]["startedAt"] for name, entry in entries.items()}
        self.assertLessEqual(started["onvif-uplink"], started["camera"])
        self.assertEqual([entry["restartCount"] for entry in entries.values()], [0, 0])

    def test_a_plain_container_serves_clusters_without_native_sidecars(self):
        self.online(self.camera_pod(native=False))
        self.reached()

    def test_a_camera_that_we_did_not_write_is_reached(self):
        self.camera_pod(text=configuration("camera-1", port=8000), neighbour=container(
            "camera", image="foreign-camera", securityContext=camera()["securityContext"] | {"readOnlyRootFilesystem": False}))
        self.reached()

    def test_the_restricted_standard_is_enforced_where_these_pods_run(self):
        with self.assertRaisesRegex(OSError, 'violates PodSecurity "restricted'):
            self.pod("loose", [container("camera", "camera", "--http", "127.0.0.1:8080", securityContext={})])

    def test_a_pod_without_its_configuration_is_ready_for_probes_and_says_what_it_waits_for(self):
        self.devices = ("camera-1",)
        self.identity("camera-1")
        spec = self.spec()
        spec["volumes"][0]["configMap"]["optional"] = True
        self.pod("camera", spec.pop("containers"), **spec)
        address = self.ready("camera")
        self.assertEqual(self.status(address)["uplinks"], [])
        self.config_map(configuration("camera-1"))
        self.refresh()
        self.online(address)

    def test_twenty_edits_of_the_mounted_configmap_do_not_touch_the_download_of_another_uplink(self):
        address = self.camera_pod(devices=("camera-1", "camera-2"))
        since = self.online(address)["session"]["since"]
        self.online(address, "camera-2")
        with Download(f"{self.front}/camera-1/stream.mjpeg") as download:
            for number in range(20):
                generation = self.status(address)["generation"]
                self.edit(("camera-2", ["Operator", "User"][number % 2]))
                wait_for(f"edit {number + 1} is in force", lambda: self.status(address)["generation"] > generation)
                download.alive()
        self.assertEqual(self.online(address)["session"]["since"], since, "the untouched uplink was connected anew")

    def edit(self, *devices):
        self.config_map(configuration("camera-1", *devices))
        self.refresh()

    def test_a_bad_edit_is_said_with_its_place_and_mended(self):
        address = self.camera_pod()
        self.online(address)
        with Download(f"{self.front}/camera-1/stream.mjpeg") as download:
            self.config_map("devices:\n  - name: camera-1\n    htpp: http://127.0.0.1:8080\n")
            self.refresh()
            errors = wait_for("the error is told", lambda: self.status(address)["config"]["errors"])
            self.assertIn("htpp", json.dumps(errors))
            download.alive()
            self.edit()
            wait_for("the error is gone", lambda: not self.status(address)["config"]["errors"])
            download.alive()

    def test_a_rotated_certificate_takes_effect_without_a_lost_request(self):
        address = self.camera_pod()
        before = self.online(address)
        self.reached()
        with Asking(self.picture) as asking:
            self.pki.leaf("camera-1", "/CN=camera-1", "DNS:camera-1", "clientAuth", days=60)
            self.secret("camera-1", self.pair("camera-1"))
            self.refresh()
            after = wait_for("the new certificate is used", lambda: (entry := self.online(address))
                             and entry["certificateExpiry"] != before["certificateExpiry"] and entry, 60)
            asking.more()
        self.assertNotEqual(after["session"]["since"], before["session"]["since"])
        self.assertEqual(asking.lost, [], f"of {asking.count} requests")

    def test_a_killed_camera_leaves_the_uplink_up_and_is_reached_again(self):
        address = self.camera_pod()
        since = self.online(address)["session"]["since"]
        self.reached()
        identity = states(self.object("pod", "camera"))["camera"]["containerID"].partition("://")[2]
        NODE.ctr("tasks", "kill", "--signal", "SIGKILL", identity)
        wait_for("the camera was started again", lambda: states(self.object("pod", "camera"))["camera"]["restartCount"] == 1)
        self.reached()
        self.assertEqual(self.online(address)["session"]["since"], since, "the uplink was connected anew")

    def test_deletion_ends_the_session_in_order_and_within_the_grace_period(self):
        self.camera_pod()
        self.reached()
        with self.last_states("camera") as seen:
            self.kubectl("delete", "pod", "camera", timeout=40)
        self.assertEqual(seen["onvif-uplink"]["terminated"]["exitCode"], 0)
        self.assertRaises(OSError, self.picture)
        self.assertNotIn("connection-reset", self.kubectl("logs", "gateway"))

    def test_a_job_with_the_sidecar_completes(self):
        self.devices = ("camera-1",)
        self.identity("camera-1")
        self.config_map(configuration("camera-1"))
        work = container("work", "check", "/etc/onvif-uplink/uplinks.yaml",
                         volumeMounts=self.sidecar()["volumeMounts"])
        spec = self.spec(neighbour=work, restartPolicy="Never", automountServiceAccountToken=False)
        self.apply(named("Job", "work", "batch/v1", spec={"template": {"spec": spec}, "backoffLimit": 0}))
        self.kubectl("wait", "--for=condition=Complete", "job/work", "--timeout=50s")
