"""The sidecar as part of a pod's life: the drain that a preStop hook asks for, probes without a shell, readiness by choice."""

from kube import Case, Download, states
from support import get, wait_for


class Lifecycle(Case):
    def setUp(self):
        super().setUp()
        self.gateway()
        self.devices = ("camera-1",)

    def flags(self, *more):
        return self.sidecar("--config", "/etc/onvif-uplink/uplinks.yaml", *more)

    def test_a_drain_lets_streams_go_on_takes_no_new_ones_and_keeps_the_pod_alive(self):
        address = self.camera_pod(sidecar=self.flags("--drain-endpoint") | {
            "readinessProbe": {"httpGet": {"path": "/readyz", "port": 9600}, "periodSeconds": 1}})
        self.online(address)
        with Download(f"{self.front}/camera-1/stream.mjpeg") as download:
            get(f"http://{address}:9600/drain")
            wait_for("the pod is not ready", lambda: "False" in self.kubectl(
                "get", "pod", "camera", "-o", "jsonpath={.status.conditions[?(@.type=='Ready')].status}"))
            download.alive()
            self.assertRaises(OSError, self.picture)
            download.alive()
        get(f"http://{address}:9600/livez")

    def test_a_prestop_hook_drains_before_the_camera_ends(self):
        hook = {"preStop": {"httpGet": {"path": "/drain", "port": 9600}}}
        for native in (True, False):
            with self.subTest(native=native):
                self.online(self.camera_pod(native=native, sidecar=self.flags("--drain-endpoint") | {"lifecycle": hook}))
                with self.last_states("camera") as seen:
                    self.kubectl("delete", "pod", "camera", timeout=40)
                self.assertEqual(seen["onvif-uplink"]["terminated"]["exitCode"], 0)
                self.assertNotIn("FailedPreStopHook", self.kubectl("get", "events"))

    def test_a_probe_by_exec_needs_no_shell(self):
        probe = {"periodSeconds": 1, "exec": {"command": ["/onvif-uplink", "healthcheck", "--admin", "127.0.0.1:9600"]}}
        address = self.camera_pod(sidecar=self.flags() | {"startupProbe": probe, "livenessProbe": probe, "readinessProbe": probe})
        self.online(address)
        self.assertEqual(states(self.object("pod", "camera"))["onvif-uplink"]["restartCount"], 0)

    def test_an_uplink_that_is_down_makes_the_pod_unready_only_if_asked(self):
        self.kubectl("delete", "pod", "gateway", "--grace-period=1")
        probe = {"readinessProbe": {"httpGet": {"path": "/readyz", "port": 9600}, "periodSeconds": 1}}
        self.camera_pod(sidecar=self.flags() | probe)
        self.kubectl("delete", "pod", "camera", "--grace-period=1")
        with self.assertRaisesRegex(AssertionError, "is Ready"):
            self.camera_pod(sidecar=self.flags("--ready-requires-uplink") | probe, seconds=8)
