#!/usr/bin/env python3
"""`make bench-video`: what an uplink does to video, beside the same cameras without it in the same run.

Viewers speak RTSP to the gateway's listener; cameras replay pre-encoded H.264 (cameras.py), each frame with the time it was due.
First frame, added age of frames, many cameras through one sidecar, and a PTZ-sized request beside many viewers, on loopback and
over a thin link between two network namespaces. Machines are noisy: only figures of one run compare. Needs ffmpeg, nginx,
openssl; the link needs namespaces.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time

from support import ROOT, WORK, Pki, Processes, add_binary, cpu_model, cpu_seconds, fetch, free_port, listens, memory_kib, run, wait_for

sys.path.insert(0, str(ROOT / "tests" / "real"))
import link  # noqa: E402

RATE = 25
RTT_MS, KBIT = 80, 10_000  # the thin link
VIEWERS = 16
CAMERAS, NGINX, FRONT, RTSP, LISTEN, ADMIN = 9000, 8080, 8800, 8554, 8443, 9600  # ports within namespaces
PYTHON, PROGRAMS = sys.executable, ROOT / "benches"


def clip(kbit, size):
    """Two seconds of constant bit rate, one key frame each second; made once."""
    file = WORK / f"clip-{kbit}.h264"
    if not file.exists():
        partial = file.with_suffix(".part")
        run("ffmpeg", "-y", "-v", "error", "-f", "lavfi", "-i", f"testsrc2=size={size}:rate={RATE},noise=alls=20:allf=t", "-t", "2",
            "-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-b:v", f"{kbit}k", "-minrate", f"{kbit}k", "-maxrate",
            f"{kbit}k", "-bufsize", f"{kbit * 2 // RATE}k", "-x264-params",
            f"sliced-threads=0:threads=1:keyint={RATE}:min-keyint={RATE}:scenecut=0:nal-hrd=cbr:aud=1", "-pix_fmt", "yuv420p",
            "-f", "h264", partial)
        partial.rename(file)
    return file


class Cameras:
    """cameras.py as a process of its own."""

    def __init__(self, kbit, size, count, inside=(), *place):
        self.process = subprocess.Popen([str(word) for word in (*inside, PYTHON, PROGRAMS / "cameras.py", clip(kbit, size), RATE,
                                                                count, *place)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.pid, self.ports = self.process.pid, [int(port) for port in self.process.stdout.readline().split()]

    def report(self):
        self.process.stdin.write("report\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def stop(self):
        self.process.terminate()
        self.process.wait(10)


def nginx(processes, port, inside=(), label="nginx"):
    """The device's web service: answers a command with as many bytes as a camera does."""
    answer = "<s:Envelope><s:Body><ContinuousMoveResponse/></s:Body></s:Envelope>".ljust(400)
    config = WORK / f"{label}.conf"
    user = "user root;" if os.geteuid() == 0 else ""
    config.write_text(f"""{user} daemon off; worker_processes 1; pid {WORK}/{label}.pid; error_log {WORK}/{label}-error.log;
        events {{ worker_connections 1024; }}
        http {{ keepalive_requests 1000000; access_log off; client_body_temp_path {WORK}/{label}-body;
                server {{ listen 127.0.0.1:{port}; location / {{ return 200 "{answer}"; }} }} }}""")
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    return processes.start(label, *inside, program, "-e", WORK / f"{label}-start.log", "-c", config)


class Ends:
    """Gateway and sidecar. `devices`: (name, http port, rtsp port or nothing); `far` and `near`: prefixes of their namespaces."""

    def __init__(self, processes, pki, binary, devices, label, on=None, network=None):
        near, far = (on.near, on.far) if on else ((), ())
        self.front, self.rtsp, listen, admin = (FRONT, RTSP, LISTEN, ADMIN) if on else (free_port() for _ in range(4))
        remote, names, entries = f"https://{link.FAR if on else '127.0.0.1'}:{listen}/uplink", {}, []
        for name, http, rtsp in devices:
            cert, key = pki.issue(name)
            names[name] = {"certFile": str(cert), "keyFile": str(key)}
            # The throw-away certificate of the gateway has no name for the namespace's address.
            uplink = {"remoteAddress": remote, "certificateID": name, "userLevel": "Administrator",
                      "certPathValidationPolicyID": "ca", **({"lab": {"skipServerVerification": True}} if on else {}),
                      **({"network": network} if network else {})}
            entries.append({"name": name, "http": f"http://127.0.0.1:{http}", "uplinks": [uplink],
                            **({"rtsp": f"rtsp://127.0.0.1:{rtsp}"} if rtsp else {})})
        document = WORK / f"video-{label}.yaml"
        document.write_text(json.dumps({"devices": entries, "certificates": names, "certPathValidationPolicies":
                                        {"ca": {"trustAnchorFiles": [str(pki.folder / "ca.crt")]}}}))
        self.gateway = processes.start(f"video-gateway-{label}", *far, binary, "gateway", "--listen", f"0.0.0.0:{listen}", "--cert",
                                       pki.folder / "server.crt", "--key", pki.folder / "server.key", "--client-ca",
                                       pki.folder / "ca.crt", "--front", f"127.0.0.1:{self.front}", "--rtsp",
                                       f"127.0.0.1:{self.rtsp}", "--admin", "127.0.0.1:0", "--log-level", "warn")
        self.sidecar = processes.start(f"video-sidecar-{label}", *near, binary, "run", "--config", document, "--admin",
                                       f"127.0.0.1:{admin}", "--log-level", "warn")

        def online():
            url = f"http://127.0.0.1:{admin}/status"
            status = json.loads(subprocess.run([*near, "curl", "-sS", "-m", "5", url], check=True, capture_output=True).stdout
                                if on else fetch(url))
            return sum(uplink["status"] == "Online" for uplink in status["uplinks"]) == len(devices)

        wait_for(lambda: quiet(online), f"{len(devices)} uplink(s)", 60)

    def url(self, name):
        return f"rtsp://127.0.0.1:{self.rtsp}/{name}/clip"


def quiet(check):
    """A check whose program may fail while nothing listens yet."""
    try:
        return check()
    except (subprocess.CalledProcessError, ValueError):
        return False


def viewers(*words, inside=()):
    command = [*inside, PYTHON, PROGRAMS / "viewers.py", *words]
    return subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, text=True)


def answer(process):
    """The line of JSON of viewers.py."""
    line = process.stdout.readline()
    if process.wait(60) or not line:
        sys.exit("the viewers failed")
    return json.loads(line)


def shown(url, inside=()):
    """ms until ffmpeg has decoded one picture, started and ended."""
    began = time.monotonic()
    run(*inside, "ffmpeg", "-nostdin", "-v", "error", "-flags", "low_delay", "-analyzeduration", "0",
        "-probesize", "32", "-rtsp_transport", "tcp", "-i", url, "-frames:v", "1", "-f", "null", "-")
    return (time.monotonic() - began) * 1000


def first_frames(direct, ours, runs, inside=()):
    """Medians in ms, interleaved: (direct, ours) of a bare viewer, (direct, ours) of ffmpeg."""
    bare, player = ([], []), ([], [])
    for _ in range(runs):
        for index, url in enumerate((direct, ours)):
            bare[index].extend(answer(viewers("first", 3, url, inside=inside))["times"])
            player[index].append(shown(url, inside))
    return [tuple(statistics.median(times) for times in pair) for pair in (bare, player)]


def first_loopback(pki, binary, runs):
    processes, cameras = Processes(), Cameras(8000, "1280x720", 1)
    try:
        ends = Ends(processes, pki, binary, [("camera-1", cameras.ports[0], None)], "first")
        return first_frames(f"rtsp://127.0.0.1:{cameras.ports[0]}/clip", ends.url("camera-1"), runs)
    finally:
        processes.stop()
        cameras.stop()


def first_link(pki, binary, runs):
    """The same over 80 ms, with room enough that the size of a frame does not count."""
    on, processes = link.Link(delay_ms=RTT_MS / 2), Processes()
    try:
        cameras = Cameras(1000, "640x360", 1, on.near, "0.0.0.0", CAMERAS)
        try:
            ends = Ends(processes, pki, binary, [("camera-1", CAMERAS, None)], "first-link", on)
            return first_frames(f"rtsp://{link.NEAR}:{CAMERAS}/clip", ends.url("camera-1"), runs, on.far)
        finally:
            cameras.stop()
    finally:
        processes.stop()
        on.close()


def many(pki, binary, count, seconds):
    """`count` cameras of 8 Mbit/s, one viewer each: directly, then through one sidecar and one gateway."""
    processes, cameras = Processes(), Cameras(8000, "1280x720", count)
    try:
        direct, urls = {}, [f"rtsp://127.0.0.1:{port}/clip" for port in cameras.ports]
        names = [f"camera-{index + 1}" for index in range(count)]
        ends = Ends(processes, pki, binary, [(name, port, None) for name, port in zip(names, cameras.ports)], f"many-{count}")
        rest = memory_kib(ends.sidecar), memory_kib(ends.gateway)
        found = []
        for chosen in (urls, [ends.url(name) for name in names]):
            before = cameras.report()["dropped"]
            watching = viewers("watch", seconds, 0, *chosen)
            if watching.stdout.readline().strip() != "playing":
                sys.exit(f"{count} viewers did not all see a frame")
            pids = {"cameras": cameras.pid, "viewers": watching.pid, "sidecar": ends.sidecar, "gateway": ends.gateway}
            used = {name: cpu_seconds(pid) for name, pid in pids.items()}
            time.sleep(seconds * 0.9)
            cpu = {name: (cpu_seconds(pid) - used[name]) / (seconds * 0.9) * 100 for name, pid in pids.items()}
            memory = memory_kib(ends.sidecar), memory_kib(ends.gateway)
            result = answer(watching)
            if result["ended"]:
                sys.exit(f"viewers ended: {result['ended'][:3]}")
            result.update(cpu=cpu, dropped=cameras.report()["dropped"] - before,
                          memory=[(now - then) / count for now, then in zip(memory, rest)])
            found.append(result)
        return found
    finally:
        processes.stop()
        cameras.stop()


def beside(ends_front, seconds, urls, nginx_port, far=(), near=(), settle=1):
    """The request alone, and beside viewers of whom the first is stalled; and straight to nginx beside them, which says what
    this machine adds under that load."""
    path = ("127.0.0.1", ends_front, "/camera-1/onvif/ptz_service")
    alone = answer(viewers("ask", seconds, *path, inside=far))
    watching = viewers("watch", seconds * 2 + settle + 2, 1, *urls, inside=far)
    if watching.stdout.readline().strip() != "playing":
        sys.exit("the viewers did not all see a frame")
    time.sleep(settle)  # the load is what is measured, not its start: slow start overshoots a thin link for seconds
    busy = answer(viewers("ask", seconds, *path, inside=far))
    straight = answer(viewers("ask", seconds / 2, "127.0.0.1", nginx_port, "/onvif/ptz_service", inside=near))
    return alone, busy, straight, answer(watching)


def ptz_loopback(pki, binary, seconds):
    processes, cameras, port = Processes(), Cameras(8000, "1280x720", 1), free_port()
    try:
        nginx(processes, port)
        wait_for(lambda: listens(port), "nginx")
        ends = Ends(processes, pki, binary, [("camera-1", port, cameras.ports[0])], "ptz")
        return beside(ends.front, seconds, [ends.url("camera-1")] * (VIEWERS + 1), port)
    finally:
        processes.stop()
        cameras.stop()


def ptz_link(pki, binary, seconds, network=None):
    """16 viewers of 1 Mbit/s want more than the link has: it is saturated throughout. Its own queue holds 64 packets, 77 ms: what
    the kernel's congestion control leaves in it is not the sidecar's to bound, but `network` chooses another."""
    on, processes = link.Link(delay_ms=RTT_MS / 2, kbit=KBIT, queue=64), Processes()
    try:
        cameras = Cameras(1000, "640x360", 1, on.near, "127.0.0.1", CAMERAS)
        try:
            nginx(processes, NGINX, on.near, "nginx-link")
            ends = Ends(processes, pki, binary, [("camera-1", NGINX, CAMERAS)], "ptz-link", on, network)
            return beside(FRONT, seconds, [ends.url("camera-1")] * (VIEWERS + 1), NGINX, on.far, on.near, settle=10)
        finally:
            cameras.stop()
    finally:
        processes.stop()
        on.close()


def report(figures):
    lines = [f"Machine: {platform.machine()}, {os.cpu_count()} cores, {cpu_model()}, Linux {platform.release()}."]
    aims = []
    for label in ("0 ms", f"{RTT_MS} ms"):
        if label not in figures["first"]:
            continue
        (bare_direct, bare), (player_direct, player) = figures["first"][label]
        lines += ["", f"| first frame, {label} | direct ms | uplink ms | ratio |", "|---|---|---|---|",
                  f"| a bare RTSP viewer | {bare_direct:.1f} | {bare:.1f} | {bare / bare_direct:.2f} |",
                  f"| ffmpeg, to a decoded picture | {player_direct:.0f} | {player:.0f} | {player / player_direct:.2f} |"]
        if label == "0 ms":
            aims.append(("first frame / direct, ffmpeg at 0 ms", "1.3 or less", f"{player / player_direct:.2f}"))
        else:
            aims.append((f"further round trips to the first frame at {label}", "3 or less", f"{(bare - bare_direct) / RTT_MS:.1f}"))
    lines += ["", "| cameras of 8 Mbit/s | way | age p50 ms | p99 ms | most ms | later than 40 ms | lost | dropped by cameras | sidecar CPU % per camera "
              "| gateway CPU % per camera | cameras, viewers CPU % | sidecar, gateway KiB per camera |", "|" + "---|" * 12]
    for count, ways in figures["many"].items():
        for way, found in zip(("direct", "uplink"), ways):
            cpu, ours = found["cpu"], way == "uplink"
            lines.append(f"| {count} | {way} | {found['p50']:.1f} | {found['p99']:.1f} | {found['max']:.1f} | {found['late']} of {found['frames']} "
                         f"| {found['lost']} | {found['dropped']} | {cpu['sidecar'] / count:.2f} | {cpu['gateway'] / count:.2f} | {cpu['cameras']:.0f}, {cpu['viewers']:.0f} "
                         f"| {'%.0f, %.0f' % tuple(found['memory']) if ours else ''} |")
        direct, ours = ways
        aims.append((f"frames later than 40 ms at {count} cameras (direct)", "none", f"{ours['late']} ({direct['late']}) of {ours['frames']}"))
        aims.append((f"age added by the uplink at {count} cameras, p50", "", f"{ours['p50'] - direct['p50']:.2f} ms"))
    lines += ["", f"| a PTZ-sized request, {VIEWERS} viewers and one stalled | p50 ms | p99 ms | most ms | requests |", "|---|---|---|---|---|"]
    for where, (alone, busy, straight, watched) in figures["ptz"].items():
        for label, found in (("alone", alone), ("beside the viewers", busy), ("beside them, straight to the device", straight)):
            lines.append(f"| {where}: {label} | {found['p50']:.2f} | {found['p99']:.2f} | {found['max']:.2f} | {found['requests']} |")
        lines.append(f"| {where}: frames that the viewers saw | {watched['p50']:.1f} | {watched['p99']:.1f} | {watched['max']:.1f} | {watched['frames']} |")
        if where == "loopback":
            aims.append(("request's p99 beside viewers / alone, loopback", "2 or less", f"{busy['p99'] / alone['p99']:.2f}"))
        else:
            aims.append((f"request's p99 beside viewers, {where}", f"{RTT_MS + 60} ms or less", f"{busy['p99']:.0f} ms"))
    lines += ["", "| aim | wanted | measured |", "|---|---|---|"]
    return "\n".join(lines + [f"| {name} | {wanted} | {value} |" for name, wanted, value in aims])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    add_binary(parser)
    parser.add_argument("--quick", action="store_true", help="few seconds a figure and at most 8 cameras: a smoke test of the harness")
    parser.add_argument("--cameras", help="counts of cameras, for example 1,16,64")
    parser.add_argument("--seconds", type=float, help="seconds of each figure")
    parser.add_argument("--only", choices=("first", "many", "ptz"), help="only this part")
    parser.add_argument("--json", help="also write the figures here")
    arguments = parser.parse_args()
    missing = [tool for tool in ("ffmpeg", "nginx", "curl", "openssl") if not shutil.which(tool, path=os.environ["PATH"] + ":/usr/sbin")]
    if missing:
        sys.exit(f"missing: {', '.join(missing)}; `make install-test-tools` installs them on Debian and Ubuntu")
    WORK.mkdir(parents=True, exist_ok=True)
    os.environ["NO_PROXY"] = "*"
    seconds = arguments.seconds or (3 if arguments.quick else 20)
    counts = [int(count) for count in (arguments.cameras or ("1,8" if arguments.quick else "1,16,64")).split(",")]
    pki, why_not, runs = Pki(WORK / "pki"), link.available(), 3 if arguments.quick else 15
    figures = {"first": {}, "many": {}, "ptz": {}}
    wanted = [arguments.only] if arguments.only else list(figures)

    def step(part, key, work, *more):
        if part in wanted:
            print(f"{part}: {key}", file=sys.stderr, flush=True)
            figures[part][key] = work(pki, arguments.binary, *more)

    if why_not:
        print(f"without the link: {why_not}", file=sys.stderr)
    step("first", "0 ms", first_loopback, runs)
    if not why_not:
        step("first", f"{RTT_MS} ms", first_link, runs)
    for count in counts:
        step("many", count, many, count, seconds)
    step("ptz", "loopback", ptz_loopback, seconds)
    if not why_not:
        step("ptz", f"{KBIT // 1000} Mbit/s and {RTT_MS} ms", ptz_link, seconds)
        step("ptz", f"{KBIT // 1000} Mbit/s and {RTT_MS} ms, capped at 9 Mbit/s", ptz_link, seconds, {"maxKilobitsPerSecond": 9000})
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump(figures, file, indent=1)
    print(report(figures))


if __name__ == "__main__":
    main()
