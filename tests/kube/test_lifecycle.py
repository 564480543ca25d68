"""The sidecar as part of a pod's life: the drain that a preStop hook asks for, probes without a shell, readiness by choice."""

import threading

from kube import BROKEN, Case, Download, configuration, container, states
from support import OPENER, get, wait_for

LONG = 8 << 20  # bytes of /long.bin at the camera that we did not write, which it sends in some 16 s


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

    def long_pod(self, seconds=20, **fields):
        """A pod whose camera sends `/long.bin` and waits so long before it ends; a camera that goes at once ends its streams."""
        patient = container("camera", image="foreign-camera", lifecycle={"preStop": {"sleep": {"seconds": seconds}}},
                            securityContext=self.sidecar()["securityContext"] | {"readOnlyRootFilesystem": False})
        self.online(self.camera_pod(neighbour=patient, text=configuration("camera-1", port=8000), terminationGracePeriodSeconds=40, **fields))
        self.reached()

    def test_a_download_that_runs_when_the_pod_is_deleted_arrives_whole(self):
        for native in (True, False):
            with self.subTest(native=native):
                sidecar = self.flags()
                sidecar["args"] = ["25s" if argument == "5s" else argument for argument in sidecar["args"]]
                self.long_pod(native=native, sidecar=sidecar)
                with Whole(f"{self.front}/camera-1/long.bin") as download, self.last_states("camera") as seen:
                    self.kubectl("delete", "pod", "camera", timeout=60)
                self.assertEqual((download.length, download.error), (LONG, None))
                self.assertEqual(seen["onvif-uplink"]["terminated"]["exitCode"], 0)

    def test_a_drain_by_prestop_takes_no_new_requests_and_lets_a_download_arrive_whole(self):
        # The hook of a native sidecar runs at the beginning of the end, its stop comes after the camera's end: longer than its grace period.
        hook = {"lifecycle": {"preStop": {"httpGet": {"path": "/drain", "port": 9600}}}}
        self.long_pod(sidecar=self.flags("--drain-endpoint") | hook)
        with Whole(f"{self.front}/camera-1/long.bin") as download:
            self.kubectl("delete", "pod", "camera", "--wait=false")
            wait_for("new requests are refused", self.refused)
            self.assertLess(download.length, LONG, "it still runs")
        self.assertEqual((download.length, download.error), (LONG, None))

    def refused(self):
        try:
            self.picture()
        except OSError:
            return True

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


class Whole:
    """A download with an end, in a thread; at the end of the `with` block it is over."""

    def __init__(self, url):
        self.url, self.length, self.error = url, 0, None

    def __enter__(self):
        self.thread = threading.Thread(target=self._run)
        self.thread.start()
        wait_for("the download runs", lambda: self.length or self.error)
        return self

    def _run(self):
        try:
            with OPENER.open(self.url, timeout=15) as answer:
                while part := answer.read1(1 << 16):
                    self.length += len(part)
        except BROKEN as error:
            self.error = error

    def __exit__(self, *_):
        self.thread.join(60)
