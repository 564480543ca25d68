#!/usr/bin/env python3
"""`make bench-ways`: how uplinks come up and come back.

    ways.py online     time to Online: cold start, and after a reset, a killed remote, a blackhole, a changed address
    ways.py fleet      many uplinks of one process and a remote that goes away and returns
    ways.py link       a control request beside a bulk download over 10 Mbit/s and 80 ms, with and without a short kernel queue

Holes, changed addresses and the link need user namespaces (no root); where there are none, that is said. All traffic stays on
loopback or in namespaces made here.
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

from support import ROOT, WORK, Pki, Processes, add_binary, cpu_model, cpu_seconds, fetch, free_port, memory_kib, wait_for

sys.path.insert(0, str(ROOT / "tests" / "real"))
import link as links  # noqa: E402

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
    uplinks = [{"remoteAddress": remote, "certificateID": "c", "userLevel": "Administrator", "certPathValidationPolicyID": "p",
                **settings} for remote, settings in remotes]
    return {"devices": [{"name": "d", "http": "http://127.0.0.1:9", "uplinks": uplinks}],
            "certificates": {"c": {"certFile": str(cert), "keyFile": str(key)}},
            "certPathValidationPolicies": {"p": {"trustAnchorFiles": [str(pki.folder / "ca.crt")]}}}


def fleet_document(pki, port, count):
    """The same as text, short enough for 10 000 uplinks within the 1 MiB of a ConfigMap. Addresses differ, the certificate does not:
    its name is checked elsewhere, here it is the number that counts."""
    cert, key = pki.issue("fleet")
    uplinks = ",".join(f"{{remoteAddress: {address_of(index)}:{port},certificateID: c,userLevel: User,lab: {{skipServerVerification: true}}}}"
                        for index in range(count))
    return (f"devices: [{{name: d,http: http://127.0.0.1:9,uplinks: [\n{uplinks}]}}]\n"
            f"certificates: {{ c: {{ certFile: {cert}, keyFile: {key} }} }}\n")


class Sidecar:
    """The sidecar on a document, perhaps inside a namespace."""

    def __init__(self, processes, binary, label, content, inside=()):
        path = WORK / f"ways-{label}.yaml"
        path.write_text(content if isinstance(content, str) else json.dumps(content, separators=(",", ":")))
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
        began = time.time()
        sidecar = Sidecar(processes, binary, f"fleet-{count}", fleet_document(pki, remote.port, count))
        wait_for(lambda: remote.report()["sessions"] == count, f"{count} uplinks", 300, 1)
        first = time.time() - began
        rest = memory_kib(sidecar.pid)
        gone = time.time()
        remote.tell("away")
        time.sleep(away)
        back = time.time()
        remote.tell("up")
        wait_for(lambda: remote.report()["sessions"] == count, f"{count} uplinks again", 300, 1)
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
    processes, remote = Processes(), Remote(pki, *filter(None, [address]), inside=remote_inside)
    try:
        skip = {"lab": {"skipServerVerification": True}}
        hosts = [address] * runs if address else [address_of(index) for index in range(runs)]
        remotes = [(f"{host}:{remote.port}/u{index}", skip) for index, host in enumerate(hosts)]
        sidecar = Sidecar(processes, binary, "loss", document(pki, remotes), inside)
        wait_for(lambda: sidecar.online() == runs, f"{runs} uplinks", 120, 0.2)
        lost, remote = lose(remote, sidecar)
        wait_for(lambda: sum(what == "online" and at > lost for at, what, _ in remote.report()["events"]) >= runs,
                 f"{runs} uplinks again", 180, 0.2)
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


def lose_by_hole(link, seconds):
    """The link swallows everything for a time; counted from its end, because before that nothing can come up."""

    def lose(remote, _):
        link.tell("blackhole on")
        time.sleep(seconds)
        link.tell("blackhole off")
        return time.time(), remote

    return lose


def lose_by_address(link):
    """The address of every session goes, another one comes."""

    def lose(remote, _):
        lost = time.time()
        link.run(link.near, "ip", "addr", "add", "10.99.0.3/24", "dev", "ta")
        link.run(link.near, "ip", "addr", "del", f"{links.NEAR}/24", "dev", "ta")
        link.run(link.near, "ip", "addr", "replace", "10.99.0.3/24", "dev", "ta")
        return lost, remote

    return lose


def linked(pki, binary, runs, make_lose):
    """`after_loss` with the sidecar and the remote at the ends of a link of 10 ms."""
    link = links.Link(delay_ms=5)
    try:
        return after_loss(pki, binary, runs, make_lose(link), link.near, links.FAR, link.far)
    finally:
        link.close()


def online(pki, binary, runs):
    """The table of how long it takes until Online."""
    rows = [("cold start, the process included", cold_starts(pki, binary, runs)),
            ("session reset", after_loss(pki, binary, runs, lose_by_reset)),
            ("remote killed, another at its place after 1 s", after_loss(pki, binary, runs, lose_by_kill(pki)))]
    why_not = links.available()
    if not why_not:
        rows += [("hole of 45 s, from its end", linked(pki, binary, runs, lambda link: lose_by_hole(link, 45))),
                 ("address changed", linked(pki, binary, runs, lose_by_address))]
    lines = ["| until Online after | p50 s | p99 s | runs |", "|---|---|---|---|"]
    lines += [f"| {what} | {spread(took)} |" for what, took in rows]
    if why_not:
        lines += ["", f"Holes and changed addresses were not measured: {why_not}"]
    return "\n".join(lines)


ASK = """
import http.client, sys, time
took = []
for _ in range(int(sys.argv[2])):
    connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=60)
    began = time.perf_counter()
    connection.request("GET", "/camera-1/small")
    connection.getresponse().read()
    took.append(time.perf_counter() - began)
    connection.close()
    time.sleep(0.05)
print(" ".join(map(str, took)))
"""

NEIGHBOUR = """
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.send_response(200)
        length = 200 if self.path == "/small" else 1 << 32
        self.send_header("Content-Length", str(length))
        self.end_headers()
        while length:
            length -= self.wfile.write(bytes(min(length, 65536)))
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer(("127.0.0.1", 8080), Handler).serve_forever()
"""


def beside_bulk(pki, binary, count, settings, bulk):
    """Times of small requests over a link of 10 Mbit/s and 80 ms, with or without a download that fills it."""
    processes, link = Processes(), links.Link(delay_ms=40, kbit=10_000, queue=64)
    try:
        cert, key = pki.issue("camera-1")
        server, server_key = pki.folder / "server.crt", pki.folder / "server.key"
        processes.start("link-neighbour", *link.near, sys.executable, "-c", NEIGHBOUR)
        processes.start("link-gateway", *link.far, binary, "gateway", "--listen", "0.0.0.0:8443", "--cert", server, "--key",
                        server_key, "--client-ca", pki.folder / "ca.crt", "--front", "127.0.0.1:8800", "--admin", "127.0.0.1:9601")
        content = document(pki, [(f"https://{links.FAR}:8443/", {"network": settings, "lab": {"skipServerVerification": True}})])
        content["devices"][0] |= {"name": "camera-1", "http": "http://127.0.0.1:8080"}
        content["certificates"]["c"] = {"certFile": str(cert), "keyFile": str(key)}
        Sidecar(processes, binary, "link", content, link.near)
        wait_for(lambda: b"camera-1" in link.fetch(link.far, "http://127.0.0.1:8800/devices"), "the device at the gateway")
        if bulk:
            load = processes.start("link-bulk", *link.far, "curl", "-sS", "--fail", "-o", "/dev/null", "http://127.0.0.1:8800/camera-1/bulk")
            time.sleep(10)  # the load is what is measured; it has filled every queue by then
        took = link.run(link.far, sys.executable, "-c", ASK, 8800, count, seconds=60 + 10 * count).split()
        if bulk and pathlib.Path(f"/proc/{load}/status").read_text().find("State:\tZ") >= 0:
            sys.exit("the download ended before the requests: there was nothing to measure beside it")
        return [float(seconds) for seconds in took]
    finally:
        processes.stop()
        link.close()


def over_the_link(pki, binary, count):
    """The table of small requests beside a bulk download."""
    why_not = links.available()
    if why_not:
        return f"The link was not measured: {why_not}"
    rows = [("alone", {}, False), ("beside a download", {}, True),
            ("beside a download, TCP_NOTSENT_LOWAT off", {"sendQueueBytes": 0}, True)]
    lines = ["| a 200-byte answer over 10 Mbit/s, 80 ms | p50 s | p99 s | requests |", "|---|---|---|---|"]
    for what, settings, bulk in rows:
        lines.append(f"| {what} | {spread(beside_bulk(pki, binary, count, settings, bulk))} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", choices=["online", "fleet", "link", []], help="all by default")
    add_binary(parser)
    parser.add_argument("--runs", default=100, type=int, help="how often each way to Online is taken, and small requests")
    parser.add_argument("--uplinks", default=10_000, type=int, help="size of the fleet")
    parser.add_argument("--away", default=60, type=int, help="how long the remote of the fleet is away, in s")
    arguments = parser.parse_args()
    WORK.mkdir(parents=True, exist_ok=True)
    pki, binary = Pki(WORK / "pki"), arguments.binary
    print(f"{cpu_model()}, {os.cpu_count()} CPUs\n", flush=True)
    parts = {"online": lambda: online(pki, binary, arguments.runs),
             "link": lambda: over_the_link(pki, binary, arguments.runs),
             "fleet": lambda: fleet(pki, binary, arguments.uplinks, arguments.away)}
    for what in arguments.what or parts:
        print(parts[what]() + "\n", flush=True)


if __name__ == "__main__":
    main()
