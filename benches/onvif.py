#!/usr/bin/env python3
"""`make bench-onvif`: what the ONVIF layer of an uplink costs, against the same uplink without it, in interleaved blocks of one run.

Four devices behind one sidecar and one gateway are one and the same program (device.py): `bare` with as little of the layer as
configuration allows (Administrator, no account, no rewriting), `bare again` to show the noise, `level` with user level and rewriting,
`all` with the device's Digest besides. Only differences of one run mean anything. Needs curl and openssl.
"""

import argparse
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request

import device
from support import (ROOT, WORK, Pki, Processes, add_binary, cpu_model, cpu_seconds, fetch, free_port, memory_kib, run, wait_for)

SIDES = ("bare", "bare again", "level", "all")
CASES = {"4 KiB request, short answer": "/onvif/event_service", "4 KiB request, 4 KiB answer": "/onvif/large"}
BLOCK = 50  # requests of one side before the next one has its turn
HELD = 64  # requests that the device has not answered, when memory is measured
MESSAGE = 120 << 10  # bytes of each of these: just under the bound of messages of levels
P50_AIM_MS = 0.15


def request_of(size):
    """A subscription by topics, of exactly `size` bytes."""
    head = ('<?xml version="1.0" encoding="UTF-8"?><s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope" '
            'xmlns:tev="http://www.onvif.org/ver10/events/wsdl" xmlns:n="http://docs.oasis-open.org/wsn/b-2"><s:Header/><s:Body>'
            "<tev:CreatePullPointSubscription><tev:Filter>")
    end = ("</tev:Filter><tev:InitialTerminationTime>PT60S</tev:InitialTerminationTime></tev:CreatePullPointSubscription></s:Body>"
           "</s:Envelope>")
    topic = "<n:TopicExpression>tns1:RuleEngine/CellMotionDetector/Motion</n:TopicExpression>\n"
    room = size - len(head) - len(end)
    body = head + topic * (room // len(topic)) + " " * (room % len(topic)) + end
    return body.encode()


class Device:
    """device.py as a process of its own."""

    def __init__(self, file):
        self.process = subprocess.Popen([sys.executable, str(ROOT / "benches" / "device.py"), str(file)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        self.open, self.protected = (int(port) for port in self.process.stdout.readline().split())

    def tell(self, word):
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline()

    def report(self):
        return json.loads(self.tell("report"))

    def stop(self):
        self.process.terminate()
        self.process.wait(10)


class Ends:
    """Gateway and sidecar with a device for each side."""

    def __init__(self, processes, pki, binary, of, label=""):
        listen, self.front, self.admin, gateway_admin = (free_port() for _ in range(4))
        password = WORK / "onvif-password"
        password.write_text(device.PASSWORD + "\n")
        layer = {"paths": [{"path": "/clip", "class": "READ_MEDIA"}]}
        account = {"credentials": {"Administrator": {"username": device.USER, "passwordFile": str(password)}}}
        kinds = [(of.open, "Administrator", {"rewrite": "none"})] * 2 + [(of.open, "User", layer), (of.protected, "User", layer | account)]
        config = {"devices": [], "certificates": {}, "certPathValidationPolicies": {"ca": {"trustAnchorFiles": [str(pki.folder / "ca.crt")]}}}
        for side, (port, level, keys) in zip(SIDES, kinds):
            name = side.replace(" ", "-")
            cert, key = pki.issue(name)
            config["certificates"][name] = {"certFile": str(cert), "keyFile": str(key)}
            config["devices"].append({"name": name, "http": f"http://127.0.0.1:{port}", **keys, "uplinks": [{
                "remoteAddress": f"https://127.0.0.1:{listen}/uplink", "certificateID": name, "userLevel": level,
                "certPathValidationPolicyID": "ca"}]})
        document = WORK / f"onvif{label}.yaml"
        document.write_text(json.dumps(config))  # JSON is YAML
        env = dict(os.environ, GLIBC_TUNABLES="glibc.cpu.x86_rep_movsb_threshold=100000000")
        processes.start(f"onvif-gateway{label}", binary, "gateway", "--listen", f"127.0.0.1:{listen}", "--cert", pki.folder / "server.crt", "--key",
                        pki.folder / "server.key", "--client-ca", pki.folder / "ca.crt", "--front", f"127.0.0.1:{self.front}",
                        "--admin", f"127.0.0.1:{gateway_admin}", env=env)
        self.sidecar = processes.start(f"onvif-sidecar{label}", binary, "run", "--config", document, "--admin", f"127.0.0.1:{self.admin}", env=env)
        wait_for(lambda: self.online() == len(SIDES), "the uplinks", 60)

    def online(self):
        status = json.loads(fetch(f"http://127.0.0.1:{self.admin}/status"))
        return sum(uplink["status"] == "Online" for uplink in status["uplinks"])

    def base(self, side):
        return f"http://127.0.0.1:{self.front}/{side.replace(' ', '-')}"


class Client:
    """A connection to the front, and one request that is sent again and again."""

    def __init__(self, ends, side, path, body):
        self.socket = socket.create_connection(("127.0.0.1", ends.front), timeout=60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.bytes = (f"POST /{side.replace(' ', '-')}{path} HTTP/1.1\r\nHost: 127.0.0.1:{ends.front}\r\n"
                      f"Content-Type: application/soap+xml; charset=utf-8\r\nContent-Length: {len(body)}\r\n\r\n").encode() + body

    def ask(self):
        """One request; its time in ms."""
        began = time.perf_counter()
        self.send()
        self.take()
        return 1e3 * (time.perf_counter() - began)

    def ask_body(self):
        """One request; the body of its answer."""
        self.send()
        return self.take()

    def send(self):
        self.socket.sendall(self.bytes)

    def take(self):
        """The body of the answer, which must be a good one."""
        answer, whole = b"", None
        while whole is None or len(answer) < whole:
            piece = self.socket.recv(65536)
            if not piece:
                sys.exit(f"the answer broke after {answer!r}")
            answer += piece
            if whole is None and (end := answer.find(b"\r\n\r\n")) >= 0:
                whole = end + 4 + int(device.LENGTH.search(answer[:end]).group(1))
        if not answer.startswith(b"HTTP/1.1 200"):
            sys.exit(f"refused: {answer[:500]!r}")
        return answer[end + 4:]


def prove(ends, of):
    """The layer does what is measured: another run would measure nothing."""
    own = f"{device.OWN}/onvif/subscription/1".encode()
    for side in SIDES:
        answer = Client(ends, side, "/onvif/large", request_of(4096)).ask_body()
        here = f"{ends.base(side)}/onvif/subscription/1".encode()
        if (own if side.startswith("bare") else here) not in answer:
            sys.exit(f"the address in the answer of `{side}` is not what it should be: {answer[:800]!r}")
    reboot = (b'<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"><s:Body><SystemReboot '
              b'xmlns="http://www.onvif.org/ver10/device/wsdl"/></s:Body></s:Envelope>')
    for url, wanted in ((f"{ends.base('all')}/onvif/device_service", 400), (f"http://127.0.0.1:{of.protected}/onvif/device_service", 401)):
        try:
            urllib.request.urlopen(urllib.request.Request(url, reboot, {"Content-Type": "application/soap+xml"}), timeout=10)
            sys.exit(f"{url} does not refuse what it must")
        except urllib.error.HTTPError as refused:
            if refused.code != wanted:
                sys.exit(f"{url} refuses with {refused.code} instead of {wanted}")


def latency(ends, of, rounds, blocks):
    """For each case and side one list of times for each round; and requests at the device for each one of the remote's, challenges."""
    times = {case: {side: [] for side in SIDES} for case in CASES}
    asked, arrived, challenges = 0, 0, 0
    body = request_of(4096)
    for number in range(rounds):
        for case, path in CASES.items():
            print(f"round {number + 1}: {case}", file=sys.stderr, flush=True)
            clients = {side: Client(ends, side, path, body) for side in SIDES}
            taken = {side: [] for side in SIDES}
            for client in clients.values():  # connections up, and a nonce for the path
                [client.ask() for _ in range(BLOCK)]
            of.report()
            for _ in range(blocks):
                for side, client in clients.items():
                    taken[side] += [client.ask() for _ in range(BLOCK)]
            counts = of.report()
            asked, arrived, challenges = asked + blocks * BLOCK * len(SIDES), arrived + counts["requests"], challenges + counts["challenges"]
            for side in SIDES:
                times[case][side].append(taken[side])
    return times, arrived / asked, challenges


def percentile(values, percent):
    return sorted(values)[min(len(values) - 1, len(values) * percent // 100)]


def download(ends, rounds):
    """For each side MiB/s and CPU seconds of the sidecar for each GiB, a pair for each round."""
    figures = {side: [] for side in SIDES}
    size = os.path.getsize(WORK / "onvif-clip")
    run("curl", "-sS", "-o", "/dev/null", f"{ends.base('bare')}/clip")  # the first one pays for all that is not warm
    for number in range(rounds):
        for side in SIDES:
            print(f"round {number + 1}: download, {side}", file=sys.stderr, flush=True)
            before = cpu_seconds(ends.sidecar)
            code, speed, came = run("curl", "-sS", "-o", "/dev/null", "-w", "%{http_code} %{speed_download} %{size_download}",
                                    f"{ends.base(side)}/clip").split()
            if (code, int(came)) != ("200", size):
                sys.exit(f"`{side}` answered {code} and {came} bytes")
            figures[side].append((float(speed) / (1 << 20), (cpu_seconds(ends.sidecar) - before) / size * (1 << 30)))
    return figures


def memory(pki, binary, of):
    """KiB by which a sidecar grows while the device holds messages, for each of them; a new one for each side."""
    rows = {}
    for side in ("bare", "level", "all"):
        processes = Processes()
        try:
            rows[side] = grown(Ends(processes, pki, binary, of, f"-{side}"), of, side)
        finally:
            processes.stop()
    return rows


def grown(ends, of, side):
    clients = [Client(ends, side, "/onvif/hold", request_of(MESSAGE)) for _ in range(HELD)]
    Client(ends, side, "/onvif/event_service", request_of(4096)).ask()  # a nonce
    before, arrived = memory_kib(ends.sidecar), 0
    of.report()
    for client in clients:
        client.send()

    def all_held():
        nonlocal arrived
        arrived += of.report()["held"]
        return arrived == HELD

    wait_for(all_held, f"{HELD} messages at the device", 60)
    during = memory_kib(ends.sidecar)
    of.tell("release")
    for client in clients:
        client.take()
    return (during - before) / HELD


def report(times, trips, challenges, speeds, held, peak):
    lines = [f"Machine: {platform.machine()}, {os.cpu_count()} cores, {cpu_model()}, Linux {platform.release()}; "
             f"{len(speeds['bare'])} interleaved rounds; differences and ratios to `bare` in the same round, medians.", "",
             "| SOAP | side | p50 ms | p99 ms | added p50 ms | added p99 ms |", "|---|---|---|---|---|---|"]
    added = {}
    for case, sides in times.items():
        for side, rounds in sides.items():
            p50, p99 = ([percentile(taken, percent) for taken in rounds] for percent in (50, 99))
            bare = [[percentile(taken, percent) for taken in sides["bare"]] for percent in (50, 99)]
            more = [statistics.median(one - other for one, other in zip(ours, base)) for ours, base in zip((p50, p99), bare)]
            added[case, side] = more[0]
            lines.append(f"| {case} | {side} | {statistics.median(p50):.3f} | {statistics.median(p99):.3f} | {more[0]:+.3f} | {more[1]:+.3f} |")
    lines += ["", "| download | MiB/s | ratio | CPU s/GiB of the sidecar | KiB for each message of 120 KiB |", "|---|---|---|---|---|"]
    ratios = {side: statistics.median(one[0] / base[0] for one, base in zip(speeds[side], speeds["bare"])) for side in SIDES}
    for side in SIDES:
        speed, cpu = (statistics.median(pair[place] for pair in speeds[side]) for place in (0, 1))
        grew = f"{held[side]:.0f}" if side in held else ""
        lines.append(f"| {side} | {speed:.0f} | {ratios[side]:.2f} | {cpu:.2f} | {grew} |")
    lines += ["", "| aim | wanted | measured |", "|---|---|---|"]
    lines += [f"| added p50, {case} | {P50_AIM_MS} ms or less | {added[case, 'all']:.3f} ms |" for case in CASES]
    lines += [f"| requests at the device for each of the remote, warm nonce | 1 | {trips:.4f}, {challenges} challenges |",
              f"| download with all of the layer / without | 1.0 | {ratios['all']:.2f} |",
              "", f"Highest resident memory of the sidecar in all of this: {peak} KiB."]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_binary(parser)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="one short round: a smoke test of the harness")
    arguments = parser.parse_args()
    rounds, blocks, mebibytes = (1, 4, 64) if arguments.quick else (arguments.rounds, 40, 1024)
    WORK.mkdir(parents=True, exist_ok=True)
    with open(WORK / "onvif-clip", "wb") as clip:
        clip.truncate(mebibytes << 20)
    pki, processes, of = Pki(WORK / "pki"), Processes(), Device(WORK / "onvif-clip")
    try:
        ends = Ends(processes, pki, arguments.binary, of)
        prove(ends, of)
        times, trips, challenges = latency(ends, of, rounds, blocks)
        held = memory(pki, arguments.binary, of)
        speeds = download(ends, rounds)
        print(report(times, trips, challenges, speeds, held, memory_kib(ends.sidecar, "VmHWM")))
        if (trips, challenges) != (1, 0):
            sys.exit("a request with a warm nonce took more than one round trip to the device")
    finally:
        processes.stop()
        of.stop()


if __name__ == "__main__":
    main()
