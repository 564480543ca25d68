#!/usr/bin/env python3
"""`make bench-ways`: how uplinks come up and come back.

    ways.py online     time to Online: cold start, and after a reset, a killed remote, a blackhole, a changed address
    ways.py fleet      many uplinks of one process and a remote that goes away and returns
    ways.py link       a control request beside a bulk download over 10 Mbit/s and 80 ms, with and without a short kernel queue

`blackhole`, `address` and `link` need root, for network namespaces. All traffic stays on loopback or in namespaces made here.
"""

import argparse
import collections
import contextlib
import json
import os
import pathlib
import resource
import subprocess
import sys
import time

from support import ROOT, WORK, Pki, Processes, cpu_seconds, fetch, free_port, memory_kib, wait_for

FIRST_INTERVAL, TOLERANCE = 2.0, 0.05  # the specification's shortest interval in s, and the clocks' slack


def percentile(values, percent):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def spread(seconds):
    return f"{percentile(seconds, 50):.3f} | {percentile(seconds, 99):.3f} | {len(seconds)}"


class Remote:
    """fleet.py as a process of its own."""

    def __init__(self, pki, *place, inside=()):
        files = [pki.folder / name for name in ("server.crt", "server.key", "ca.crt")]
        command = [*inside, sys.executable, ROOT / "benches" / "fleet.py", *files, *place]
        self.process = subprocess.Popen([str(part) for part in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline())

    def tell(self, word):
        """Says a word and returns what was answered before the word was done."""
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()
        answer = ""
        for line in self.process.stdout:
            if line.strip() == f"done {word}":
                return answer
            answer += line
        sys.exit("the remote ended")

    def report(self):
        return json.loads(self.tell("report"))

    def kill(self):
        self.process.kill()
        self.process.wait()


def address_of(index):
    """127.1.0.1 and on: one loopback address for each uplink."""
    return f"127.{1 + index // 62500}.{index // 250 % 250}.{1 + index % 250}"


def document(pki, remotes):
    """One device with an uplink to each of these addresses; one identity for all."""
    cert, key = pki.issue("fleet")
    uplinks = [{"remoteAddress": remote, "certificateID": "c", "userLevel": "User", "certPathValidationPolicyID": "p",
                **settings} for remote, settings in remotes]
    return {"devices": [{"name": "d", "http": "http://127.0.0.1:9", "uplinks": uplinks}],
            "certificates": {"c": {"certFile": str(cert), "keyFile": str(key)}},
            "certPathValidationPolicies": {"p": {"trustAnchorFiles": [str(pki.folder / "ca.crt")]}}}


class Sidecar:
    """The sidecar on a document, perhaps inside a namespace."""

    def __init__(self, processes, binary, label, content, inside=()):
        path = WORK / f"ways-{label}.yaml"
        path.write_text(json.dumps(content, separators=(",", ":")))
        self.admin, self.inside = free_port(), [str(part) for part in inside]
        self.pid = processes.start(f"ways-{label}", *inside, binary, "run", "--config", path, "--admin", f"127.0.0.1:{self.admin}",
                                   "--log-level", "warn", env=dict(os.environ, NO_PROXY="*"))

    def page(self, path):
        url = f"http://127.0.0.1:{self.admin}{path}"
        if self.inside:
            return subprocess.run([*self.inside, "curl", "-sS", "--max-time", "10", url], check=True, capture_output=True).stdout
        return fetch(url)

    def uplinks(self):
        return json.loads(self.page("/status"))["uplinks"]

    def online(self):
        with contextlib.suppress(OSError, ValueError, subprocess.CalledProcessError):
            return sum(uplink["status"] == "Online" for uplink in self.uplinks())
        return 0


def fleet(pki, binary, count, away):
    """`count` uplinks, a remote that resets all, is away for `away` s and returns."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 20_000), hard))
    if count > min(hard, 20_000) - 100:
        sys.exit(f"{count} uplinks need as many open files; the limit is {hard}")
    processes, remote = Processes(), Remote(pki)
    try:
        # Addresses differ, the certificate does not: its name is checked elsewhere, here it is the number that counts.
        remotes = [(f"{address_of(index)}:{remote.port}/u", {"lab": {"skipServerVerification": True}}) for index in range(count)]
        began = time.time()
        sidecar = Sidecar(processes, binary, f"fleet-{count}", document(pki, remotes))
        wait_for(lambda: remote.report()["sessions"] == count, f"{count} uplinks", 300)
        first = time.time() - began
        rest = memory_kib(sidecar.pid)
        gone = time.time()
        remote.tell("away")
        time.sleep(away)
        back = time.time()
        remote.tell("up")
        wait_for(lambda: remote.report()["sessions"] == count, f"{count} uplinks again", 300)
        events = remote.report()["events"]
        return fleet_report(count, away, first, rest, gone, back, events, cpu_seconds(sidecar.pid), memory_kib(sidecar.pid, "VmHWM"))
    finally:
        processes.stop()
        remote.kill()


def fleet_report(count, away, first, rest, gone, back, events, cpu, peak):
    dials, online = collections.defaultdict(list), [at for at, what, _ in events if what == "online" and at > back]
    for at, what, who in events:
        if what == "dial" and at > gone:
            dials[who].append(at)
    early = sum(times[0] - gone < FIRST_INTERVAL - TOLERANCE for times in dials.values())
    gaps = [(b - a, index) for times in dials.values() for index, (a, b) in enumerate(zip(times, times[1:]))]
    # Nothing comes before its time: the first interval is 2 s at least, and each further one not shorter than that.
    early += sum(gap < FIRST_INTERVAL - TOLERANCE for gap, _ in gaps)
    per_second = collections.Counter(int(at - gone) for times in dials.values() for at in times)
    lines = [f"{count} uplinks of one process: all Online {first:.1f} s after the start, {rest / 1024:.0f} MiB resident then, {peak / 1024:.0f} MiB at most, {cpu:.1f} s CPU in all.",
             f"The remote reset all, refused for {away} s and returned: the last was back {max(online) - back:.1f} s after the return "
             f"(median {percentile([at - back for at in online], 50):.1f} s; aim: 60 s).",
             f"Dials before their time: {early} of {sum(map(len, dials.values()))} (aim: 0). Most dials in one second: {max(per_second.values())}.", "",
             "| second after the loss | dials |", "|---|---|"]
    return "\n".join(lines + [f"| {second} | {per_second[second]} |" for second in range(max(per_second) + 1)])


def cold_starts(pki, binary, runs):
    """A process each: from its start to the remote's view of the upgrade."""
    took = []
    for index in range(runs):
        processes, remote = Processes(), Remote(pki, "127.0.0.1")
        try:
            began = time.time()
            Sidecar(processes, binary, "cold", document(pki, [(f"https://127.0.0.1:{remote.port}/u", {})]))
            wait_for(lambda: any(what == "online" for _, what, _ in remote.report()["events"]), "the uplink")
            took.append(next(at for at, what, _ in remote.report()["events"] if what == "online") - began)
        finally:
            processes.stop()
            remote.kill()
    return took


def after_loss(pki, binary, runs, lose, inside=(), address=None, remote_inside=()):
    """`runs` uplinks of one process lose their sessions together; each one's time until it is Online again."""
    processes, remote = Processes(), Remote(pki, address, remote_inside)
    try:
        skip = {"lab": {"skipServerVerification": True}}
        hosts = [address] * runs if address else [address_of(index) for index in range(runs)]
        remotes = [(f"{host}:{remote.port}/u{index}", skip) for index, host in enumerate(hosts)]
        sidecar = Sidecar(processes, binary, "loss", document(pki, remotes), inside)
        wait_for(lambda: sidecar.online() == runs, f"{runs} uplinks", 120)
        lost, remote = lose(remote, sidecar)
        wait_for(lambda: sum(what == "online" and at > lost for at, what, _ in remote.report()["events"]) >= runs,
                 f"{runs} uplinks again", 180)
        return [at - lost for at, what, _ in remote.report()["events"] if what == "online" and at > lost][:runs]
    finally:
        processes.stop()
        remote.kill()


def lose_by_reset(remote, _):
    lost = time.time()
    remote.tell("reset")
    return lost, remote


def lose_by_kill(pki):
    """The remote dies; another one is at its place after a second."""

    def lose(remote, _):
        lost = time.time()
        remote.kill()
        time.sleep(1)
        return lost, Remote(pki, "0.0.0.0", remote.port)

    return lose
