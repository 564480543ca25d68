#!/usr/bin/env python3
"""`make bench-kube`: how fast an edit takes effect in a pod, what a sidecar asks of the API server at rest, start to Online.

On the one-node Kubernetes of tests/kube (`tests/kube/run.py --shell` brings it up and runs this inside), with the image that the
tests use. Edits are measured at /status, asked every few milliseconds: in file mode from the moment that kubelet swapped `..data`, over
the API from the moment that the API server had accepted the patch.
"""

import argparse
import datetime
import json
import pathlib
import sys
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Instead of this folder, which has a `support` of its own.
sys.path[0:1] = [str(ROOT / "tests" / "kube"), str(ROOT / "tests" / "real")]

from api import ApiCase  # noqa: E402
from kube import NODE, configuration  # noqa: E402
from node import HOME  # noqa: E402
from support import get, wait_for  # noqa: E402

POLL_SECONDS = 0.003
options = None


def percentile(values, percent):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def report(what, seconds, aim):
    print(f"| {what} | {percentile(seconds, 50):.3f} | {percentile(seconds, 99):.3f} | {len(seconds)} | {aim} |", flush=True)


class Bench(ApiCase):
    """One method for each figure; the fixtures are those of the tests."""

    def effect(self, address, edit):
        """Makes an edit by `edit(text)` and returns when its generation was in force (time.time)."""
        generation = self.status(address)["generation"]
        edit(configuration("camera-1", ("camera-2", ["Operator", "User"][generation % 2])))
        deadline = time.monotonic() + 60
        while self.status(address)["generation"] == generation:
            if time.monotonic() > deadline:
                self.fail("an edit did not take effect within 60 s")
            time.sleep(POLL_SECONDS)
        return time.time()

    def test_1_file(self):
        address = self.camera_pod(devices=("camera-1", "camera-2"))
        self.online(address)
        uid = self.object("pod", "camera")["metadata"]["uid"]
        data = HOME / "kubelet/pods" / uid / "volumes/kubernetes.io~configmap/uplinks/..data"

        def edit(text):
            self.config_map(text)
            self.refresh()

        report("edit to effect, mounted, from the swap", [self.effect(address, edit) - data.lstat().st_mtime
                                                          for _ in range(options.edits)], "1.0 at p99")

    def test_2_api(self):
        address = self.api_pod(devices=("camera-1", "camera-2"))
        self.online(address)
        accepted = []

        def edit(text):
            self.edit(text)
            accepted.append(time.time())

        report("edit to effect, over the API, from the accepted patch",
               [self.effect(address, edit) - accepted[-1] for _ in range(options.edits)], "0.3 at p99")
        account = f"{self.namespace}:camera"
        before = NODE.asked(account)
        time.sleep(options.rest)
        # The end of a watch is an entry as well.
        begun = {entry["auditID"] for entry in NODE.asked(account)} - {entry["auditID"] for entry in before}
        print(f"| requests at the API server at rest, in {options.rest} s | {len(begun)} | | | one watch, no polling |")

    def test_3_start(self):
        from_process, from_line = [], []
        for _ in range(options.starts):
            address = self.camera_pod()
            since = moment(self.online(address)["session"]["since"])
            text = get(f"http://{address}:9600/metrics").decode()
            from_process.append(since - next(float(line.split()[1]) for line in text.splitlines()
                                             if line.startswith("process_start_time_seconds ")))
            first = self.kubectl("logs", "camera", "-c", "onvif-uplink").splitlines()[0]
            from_line.append(since - moment(json.loads(first)["timestamp"]))
            self.kubectl("delete", "pod", "camera", "--grace-period=1")
            wait_for("the pod is gone", lambda: not self.kubectl("get", "pod", "camera", "--ignore-not-found"))
        # The runtime makes the process, joins namespaces and drops rights before it becomes the program.
        report("process made by the container runtime, to Online", from_process, "")
        report("first line of the program to Online, handshake included", from_line, "0.3 beyond the handshake")


def moment(text):
    """Seconds since 1970 of a time in RFC 3339."""
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--edits", type=int, default=100)
    parser.add_argument("--rest", type=int, default=600, help="seconds of rest in which requests are counted")
    parser.add_argument("--starts", type=int, default=10)
    options = parser.parse_args()
    print("| | p50, s | p99, s | n | aim, s |\n|---|---|---|---|---|")
    result = unittest.TextTestRunner(stream=sys.stderr).run(unittest.defaultTestLoader.loadTestsFromTestCase(Bench))
    sys.exit(0 if result.wasSuccessful() else 1)
