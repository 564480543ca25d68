"""What the tests on the node share: a namespace for each test, its objects, pods, the gateway, what is said on a failure.

Every namespace enforces the restricted Pod Security Standard, so all that runs here runs under it.
"""

import contextlib
import http.client
import itertools
import json
import pathlib
import shutil
import subprocess
import tempfile
import threading
import unittest

import node
from support import OPENER, Pki, get, wait_for

NODE = node.NODE
NUMBERS = itertools.count(1)
RESTRICTED = {"allowPrivilegeEscalation": False, "runAsNonRoot": True, "readOnlyRootFilesystem": True,
              "capabilities": {"drop": ["ALL"]}, "seccompProfile": {"type": "RuntimeDefault"}}
GATEWAY = "gateway.internal"
UPLINK = f"https://{GATEWAY}:8443/uplink"
TLS = "/etc/onvif-uplink-tls"
READY_SECONDS = 40


def states(pod):
    """Container -> its status, init containers included."""
    status = pod["status"]
    return {entry["name"]: entry for entry in status.get("initContainerStatuses", []) + status.get("containerStatuses", [])}


def named(kind, name, version="v1", **fields):
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}} | fields


def container(name, *arguments, image="onvif-uplink", **fields):
    return {"name": name, "image": f"localhost/{image}:1", "imagePullPolicy": "Never", "args": list(arguments),
            "securityContext": RESTRICTED} | fields


def camera(name="camera"):
    """The emulator, on loopback as a camera's own web server is."""
    return container(name, "camera", "--http", "127.0.0.1:8080")


def configuration(*devices, port=8080, **more):
    """The text of a configuration. `devices`: (name, level), or the name of one for Administrators. JSON is YAML."""
    pairs = [(device, "Administrator") if isinstance(device, str) else device for device in devices]
    return json.dumps({
        "devices": [{"name": name, "http": f"http://127.0.0.1:{port}", "uplinks": [
            {"remoteAddress": UPLINK, "certificateID": name, "userLevel": level, "certPathValidationPolicyID": "ca"}]}
            for name, level in pairs],
        "certificates": {name: {"certFile": f"{TLS}/{name}/tls.crt", "keyFile": f"{TLS}/{name}/tls.key"} for name, _ in pairs},
        "certPathValidationPolicies": {"ca": {"trustAnchorFiles": [f"{TLS}/{pairs[0][0]}/ca.crt"]}}} | more, indent=1)


class Case(unittest.TestCase):
    """A test with a namespace and a PKI of its own."""

    def setUp(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="onvif-uplink-"))
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)
        self.pki = Pki(self.dir / "pki")
        self.namespace = f"test-{next(NUMBERS)}"
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace, "labels": labels}})
        self.addCleanup(self.kubectl, "delete", "namespace", self.namespace, "--wait=false")
        self.addCleanup(self.kubectl, "delete", "pods", "--all", "--grace-period=1", "--wait=false")
        self.addCleanup(self._show)
        wait_for("the ServiceAccount", lambda: self.kubectl("get", "serviceaccount", "default", "-o", "name"))

    def _show(self):
        """After a failure: what somebody would look at first."""
        outcome = getattr(self._outcome, "result", None)
        if not outcome or not any(test is self for test, _ in outcome.failures + outcome.errors):
            return
        print(self.kubectl("get", "pods", "-o", "wide"), self.kubectl("describe", "pods"))
        for pod in self.kubectl("get", "pods", "-o", "name").split():
            with contextlib.suppress(OSError):
                print(f"--- {pod}\n" + self.kubectl("logs", pod, "--all-containers", "--prefix", "--tail=40"))

    def kubectl(self, *arguments, **options):
        return NODE.kubectl("--namespace", self.namespace, *arguments, **options)

    def helm(self, *arguments, **options):
        return NODE.helm("--namespace", self.namespace, *arguments, **options)

    def apply(self, *objects):
        self.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-",
                     input=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}))

    def object(self, kind, name):
        return json.loads(self.kubectl("get", kind, name, "-o", "json"))

    def config_map(self, text, name="uplinks", key="uplinks.yaml"):
        self.apply(named("ConfigMap", name, data={key: text}))

    def secret(self, name, files):
        self.apply(named("Secret", name, stringData=files))

    def identity(self, name):
        """A new client certificate for a device, in the Secret of its name."""
        self.pki.client(name)
        self.secret(name, self.pair(name))

    def pair(self, name):
        files = {"tls.crt": f"{name}.crt", "tls.key": f"{name}.key", "ca.crt": "ca.crt"}
        return {key: self.pki.path(file).read_text() for key, file in files.items()}

    def gateway(self):
        """The gateway in a pod of its own; `self.front` is its front, `self.aliases` what a sidecar's pod needs to find it."""
        self.pki.server("gateway", f"DNS:{GATEWAY}")
        self.secret("gateway-tls", self.pair("gateway"))
        self.pod("gateway", [container(
            "gateway", "gateway", "--listen", "0.0.0.0:8443", "--cert", f"{TLS}/tls.crt", "--key", f"{TLS}/tls.key",
            "--client-ca", f"{TLS}/ca.crt", "--front", "0.0.0.0:8800", "--front-open", "--admin", "0.0.0.0:9601",
            "--grace-period", "2s", volumeMounts=[{"name": "tls", "mountPath": TLS}],
            readinessProbe={"httpGet": {"path": "/readyz", "port": 9601}, "periodSeconds": 1})],
            volumes=[{"name": "tls", "secret": {"secretName": "gateway-tls"}}])
        address = self.ready("gateway")
        self.front = f"http://{address}:8800"
        self.aliases = [{"ip": address, "hostnames": [GATEWAY]}]

    def pod(self, name, containers, **spec):
        self.apply(named("Pod", name, spec={"containers": containers, "automountServiceAccountToken": False,
                                            "terminationGracePeriodSeconds": 20} | spec))

    def sidecar(self, *arguments, **fields):
        """The product's container as in docs/kubernetes.md; by default it follows the mounted ConfigMap."""
        arguments = arguments or ("--config", "/etc/onvif-uplink/uplinks.yaml")
        probe = {"periodSeconds": 1, "httpGet": {"path": "/livez", "port": 9600}}
        return container("onvif-uplink", "run", "--admin", "0.0.0.0:9600", "--grace-period", "5s", *arguments,
                         startupProbe=probe | {"failureThreshold": 30}, livenessProbe=probe | {"periodSeconds": 5},
                         volumeMounts=[{"name": "uplinks", "mountPath": "/etc/onvif-uplink"},
                                       *({"name": name, "mountPath": f"{TLS}/{name}"} for name in self.devices)]) | fields

    def volumes(self):
        return [{"name": "uplinks", "configMap": {"name": "uplinks"}},
                *({"name": name, "secret": {"secretName": name}} for name in self.devices)]

    def spec(self, native=True, neighbour=None, sidecar=None, **more):
        """The pod of a camera with the sidecar beside it."""
        sidecar, neighbour = sidecar or self.sidecar(), neighbour or camera()
        both = ({"initContainers": [sidecar | {"restartPolicy": "Always"}], "containers": [neighbour]} if native
                else {"containers": [neighbour, sidecar]})
        return both | {"hostAliases": self.aliases, "volumes": self.volumes()} | more

    def camera_pod(self, name="camera", devices=("camera-1",), text=None, seconds=READY_SECONDS, **spec):
        """Certificates, ConfigMap and pod of `devices`; waits until it is Ready and returns its address."""
        self.devices = devices
        for device in devices:
            self.identity(device)
        self.config_map(text or configuration(*devices))
        spec = self.spec(**spec)
        self.pod(name, spec.pop("containers"), **spec)
        return self.ready(name, seconds)

    def last_states(self, pod):
        """To delete a pod in: afterwards it is what was last seen of its containers."""
        return LastStates(self.namespace, pod)

    def ready(self, pod, seconds=READY_SECONDS):
        """Waits until the pod is Ready and returns its address."""
        def address():
            status = self.object("pod", pod)["status"]
            conditions = {condition["type"]: condition["status"] for condition in status.get("conditions", [])}
            return conditions.get("Ready") == "True" and status["podIP"]
        return wait_for(f"{pod} is Ready", address, seconds)

    def refresh(self, pod="camera"):
        """Makes kubelet look at the pod's volumes now and not in its next round."""
        self.kubectl("annotate", "pod", pod, "--overwrite", f"refresh={next(NUMBERS)}")

    def status(self, address):
        return json.loads(get(f"http://{address}:9600/status"))

    def online(self, address, device="camera-1", seconds=30):
        """Waits until the uplink of a device is Online and returns its entry in /status."""
        def entry():
            entries = {entry["device"]: entry for entry in self.status(address)["uplinks"]}
            return entries[device]["status"] == "Online" and entries[device]
        return wait_for(f"{device} is Online", entry, seconds)

    def picture(self, device="camera-1"):
        """A snapshot through the gateway."""
        body = get(f"{self.front}/{device}/snapshot.jpg")
        self.assertEqual(body[:2], b"\xff\xd8", "no JPEG came through the gateway")
        return body

    def reached(self, device="camera-1"):
        """Waits for a snapshot: the uplink is up before the camera listens, and says 503 until then."""
        return wait_for(f"a picture of {device}", lambda: self.picture(device))


# What becomes of a download whose connection ends in its middle.
BROKEN = (OSError, http.client.HTTPException)


class Download:
    """An endless MJPEG download through the gateway in a thread; ends with the `with` block, and must be whole until then."""

    def __init__(self, url):
        self.url, self.bytes, self.error, self._stop = url, 0, None, threading.Event()

    def __enter__(self):
        # The camera may not listen yet: 503 until then.
        self.answer = wait_for("the download begins", lambda: OPENER.open(self.url, timeout=15))
        self.thread = threading.Thread(target=self._run)
        self.thread.start()
        wait_for("the download runs", lambda: self.bytes or self.error)
        return self

    def _run(self):
        try:
            with self.answer as answer:
                while not self._stop.is_set():
                    part = answer.read1(1 << 16)
                    if not part:
                        raise OSError("the stream ended")
                    self.bytes += len(part)
        except BROKEN as error:
            self.error = error

    def alive(self):
        """Fails unless the stream is whole so far and brings more."""
        before = self.bytes
        wait_for("more of the download", lambda: self.bytes > before or self.error, 15)
        if self.error:
            raise AssertionError(f"the download broke after {self.bytes} bytes: {self.error}")

    def __exit__(self, *_):
        self._stop.set()
        self.thread.join(20)


class Asking:
    """Asks for pictures one after the other in a thread while the `with` block runs; `lost` are those that did not come."""

    def __init__(self, picture):
        self.picture, self.count, self.lost, self._stop = picture, 0, [], threading.Event()

    def __enter__(self):
        self.thread = threading.Thread(target=self._run)
        self.thread.start()
        return self

    def _run(self):
        while not self._stop.is_set():
            try:
                self.picture()
                self.count += 1
            except (OSError, AssertionError) as error:
                self.lost.append(error)

    def more(self):
        """Waits until some more have come."""
        before = self.count
        wait_for("more pictures", lambda: self.count > before + 5)

    def __exit__(self, *_):
        self._stop.set()
        self.thread.join(20)


class LastStates(dict):
    """Container -> the last state that was seen of it while the `with` block ran."""

    def __init__(self, namespace, pod):
        super().__init__()
        self.command = [node.BIN / "kubectl", "-n", namespace, "get", "pod", pod, "--watch", "-o", "json"]

    def __enter__(self):
        self.process = subprocess.Popen(self.command, env=NODE.environment(), stdout=subprocess.PIPE, text=True)
        self.thread = threading.Thread(target=self._read)
        self.thread.start()
        wait_for("the pod is watched", lambda: self)
        return self

    def _read(self):
        decoder, text = json.JSONDecoder(), ""
        for line in self.process.stdout:
            text += line
            if line == "}\n":
                pod, _ = decoder.raw_decode(text)
                text = ""
                self.update({name: entry["state"] for name, entry in states(pod).items()})

    def __exit__(self, *_):
        wait_for("the sidecar ended", lambda: "terminated" in self["onvif-uplink"], 10)
        self.process.terminate()
        self.process.wait()
        self.thread.join(10)
        self.process.stdout.close()
