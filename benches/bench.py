#!/usr/bin/env python3
"""`make bench`: what an uplink costs, as ratios against peers in the same interleaved run.

The path measured is client -> gateway front -> uplink over TLS -> sidecar -> nginx on loopback. Beside it, in the same
rounds: plain TLS by nginx (the bare path), a stunnel pair, and rathole where it is installed. Machines are noisy: every figure is the median of
interleaved rounds, and only ratios within one run mean anything. Needs nginx, stunnel, wrk, curl and openssl.
"""

import argparse
import json
import os
import pathlib
import platform
import re
import shutil
import statistics
import subprocess
import sys
import time

from support import (ROOT, WORK, Pki, Processes, add_binary, cpu_model, cpu_seconds, fetch, free_port, listens, memory_kib,
                     private_kib, run, wait_for)

GIB = 1 << 30


class Nginx:
    """The device: files on loopback, an upload target; and the same over TLS, which is the bare path."""

    def __init__(self, processes, pki):
        self.http, self.tls = free_port(), free_port()
        www = WORK / "www"
        www.mkdir(exist_ok=True)
        for name, size in (("1k", 1 << 10), ("16m", 16 << 20), ("1g", GIB)):
            with open(www / name, "wb") as file:
                file.truncate(size)
        memory = pathlib.Path("/dev/shm")
        roomy = memory.is_dir() and shutil.disk_usage(memory).free > 3 * GIB
        up = (memory if roomy else WORK) / "onvif-uplink-bench"
        up.mkdir(exist_ok=True)
        self.up = up
        places = f"""
            root {www}; access_log off;
            location /up/ {{ alias {up}/; dav_methods PUT; client_max_body_size 0; client_body_temp_path {up}/tmp;
                             client_body_buffer_size 128k; }}"""
        config = WORK / "nginx.conf"
        config.write_text(f"""
            daemon off; worker_processes 1; pid {WORK}/nginx.pid; error_log {WORK}/nginx-error.log;
            events {{ worker_connections 4096; }}
            http {{
                sendfile on; keepalive_requests 1000000000; keepalive_timeout 1h; ssl_protocols TLSv1.3;
                server {{ listen 127.0.0.1:{self.http}; {places} }}
                server {{ listen 127.0.0.1:{self.tls} ssl; ssl_certificate {pki.folder}/server.crt;
                          ssl_certificate_key {pki.folder}/server.key; ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256; {places} }}
            }}""")
        if os.geteuid() == 0:
            config.write_text("user root;\n" + config.read_text())
        self.pid = processes.start("nginx", shutil.which("nginx") or "/usr/sbin/nginx", "-e", WORK / "nginx-start.log",
                                   "-c", config)
        wait_for(lambda: listens(self.http) and listens(self.tls), "nginx")

    def worker(self):
        return int(run("pgrep", "-P", self.pid).split()[0])


class Bare:
    """Plain TLS by nginx."""

    name = "nginx TLS"

    def __init__(self, nginx):
        self.base = f"https://127.0.0.1:{nginx.tls}"
        self.pids = {"nginx": nginx.worker()}


class Stunnel:
    """A stunnel pair: plain in, TLS between, plain to nginx."""

    name = "stunnel pair"

    def __init__(self, processes, pki, nginx):
        near, far = free_port(), free_port()
        client, server = WORK / "stunnel-client.conf", WORK / "stunnel-server.conf"
        client.write_text(f"foreground=yes\npid=\n[a]\nclient=yes\naccept=127.0.0.1:{near}\nconnect=127.0.0.1:{far}\n")
        server.write_text(f"foreground=yes\npid=\ncert={pki.folder}/server.crt\nkey={pki.folder}/server.key\n"
                          f"[a]\naccept=127.0.0.1:{far}\nconnect=127.0.0.1:{nginx.http}\n")
        self.pids = {"near": processes.start("stunnel-client", "stunnel4", client),
                     "far": processes.start("stunnel-server", "stunnel4", server)}
        wait_for(lambda: listens(near) and listens(far), "stunnel")
        self.base = f"http://127.0.0.1:{near}"


class Rathole:
    """rathole with its Noise transport: a byte tunnel dialed from the device's side; measured where it is installed."""

    name = "rathole"

    def __init__(self, processes, nginx):
        control, front = free_port(), free_port()
        private, public = (line.strip() for line in run("rathole", "--genkey").splitlines() if line.strip().endswith("="))
        server, client = WORK / "rathole-server.toml", WORK / "rathole-client.toml"
        server.write_text(f"""
            [server]
            bind_addr = "127.0.0.1:{control}"
            default_token = "bench"
            [server.transport]
            type = "noise"
            [server.transport.noise]
            local_private_key = "{private}"
            [server.services.web]
            bind_addr = "127.0.0.1:{front}"
            """)
        client.write_text(f"""
            [client]
            remote_addr = "127.0.0.1:{control}"
            default_token = "bench"
            [client.transport]
            type = "noise"
            [client.transport.noise]
            remote_public_key = "{public}"
            [client.services.web]
            local_addr = "127.0.0.1:{nginx.http}"
            """)
        self.pids = {"near": processes.start("rathole-server", "rathole", server),
                     "far": processes.start("rathole-client", "rathole", client)}
        self.base = f"http://127.0.0.1:{front}"
        wait_for(lambda: fetch(f"{self.base}/1k"), "rathole")


class Uplink:
    """Ours: gateway and sidecar as two processes of the release binary."""

    def __init__(self, processes, pki, nginx, binary, label="", devices=1, scheme="https"):
        self.name = "onvif-uplink" if scheme == "https" else f"onvif-uplink {scheme}"
        self.listen, self.front, self.admin, gateway_admin = (free_port() for _ in range(4))
        names = [f"camera-{index + 1}" for index in range(devices)]
        config = {"devices": [], "certificates": {}, "certPathValidationPolicies": {"ca": {"trustAnchorFiles": [str(pki.folder / "ca.crt")]}}}
        for name in names:
            cert, key = pki.issue(name)
            config["certificates"][name] = {"certFile": str(cert), "keyFile": str(key)}
            config["devices"].append({"name": name, "http": f"http://127.0.0.1:{nginx.http}", "uplinks": [{
                "remoteAddress": f"{scheme}://127.0.0.1:{self.listen}/uplink", "certificateID": name,
                "userLevel": "Administrator", "certPathValidationPolicyID": "ca"}]})
        document = WORK / f"uplinks{label}.yaml"
        document.write_text(json.dumps(config))  # JSON is YAML
        env = dict(os.environ, GLIBC_TUNABLES="glibc.cpu.x86_rep_movsb_threshold=100000000")
        gateway = processes.start(f"gateway{label}", binary, "gateway", "--listen", f"127.0.0.1:{self.listen}", "--cert",
                                  pki.folder / "server.crt", "--key", pki.folder / "server.key", "--client-ca",
                                  pki.folder / "ca.crt", "--front", f"127.0.0.1:{self.front}", "--admin",
                                  f"127.0.0.1:{gateway_admin}", env=env)
        sidecar = processes.start(f"sidecar{label}", binary, "run", "--config", document, "--admin",
                                  f"127.0.0.1:{self.admin}", env=env)
        self.pids = {"gateway": gateway, "sidecar": sidecar}
        self.base = f"http://127.0.0.1:{self.front}/camera-1"
        wait_for(lambda: self.online() == devices, f"{devices} uplink(s)", 120)

    def online(self):
        status = json.loads(fetch(f"http://127.0.0.1:{self.admin}/status"))
        return sum(uplink["status"] == "Online" for uplink in status["uplinks"])


def curl(url, *extra):
    """One transfer; MiB/s."""
    out = run("curl", "-sS", "-k", "--tlsv1.3", "-o", "/dev/null", "-w", "%{http_code} %{speed_download} %{speed_upload} %{time_total}",
              *extra, url)
    code, down, up, _ = out.split()
    if code not in ("200", "201", "204"):
        sys.exit(f"{url} answered {code}")
    return max(float(down), float(up)) / (1 << 20)


def wrk(url, connections, seconds):
    out = run("wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", url)
    if "Non-2xx" in out:
        sys.exit(f"{url}: {out}")
    scale = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}
    size = {"B": 1 / (1 << 20), "KB": 1 / 1024, "MB": 1.0, "GB": 1024.0}

    def latency(percent):
        value, unit = re.search(rf"{percent}%\s+([\d.]+)(us|ms|s|m)", out).groups()
        return float(value) * scale[unit]

    transfer, unit = re.search(r"Transfer/sec:\s+([\d.]+)(B|KB|MB|GB)", out).groups()
    return {"p50": latency(50), "p99": latency(99), "rps": float(re.search(r"Requests/sec:\s+([\d.]+)", out).group(1)),
            "mib": float(transfer) * size[unit]}


def with_cpu(contender, work):
    before = {name: cpu_seconds(pid) for name, pid in contender.pids.items()}
    result = work()
    return result, {name: cpu_seconds(pid) - before[name] for name, pid in contender.pids.items()}


def beside_bulk(contender, streams, seconds):
    """A 1 KiB request while `streams` downloads run on the same session."""
    bulk = subprocess.Popen(["wrk", "-t1", f"-c{streams}", f"-d{seconds + 3}s", "--timeout", "60s", f"{contender.base}/1g"],
                            stdout=subprocess.DEVNULL)
    try:
        time.sleep(1)
        return wrk(f"{contender.base}/1k", 1, seconds)
    finally:
        bulk.kill()
        bulk.wait()


def measure(contender, nginx, quick):
    seconds = 2 if quick else 5
    figures = {}
    figures["download MiB/s"], cpu = with_cpu(contender, lambda: curl(f"{contender.base}/1g"))
    for name, used in cpu.items():
        figures[f"download CPU s/GiB {name}"] = used
    source = WORK / "www" / "1g"
    figures["upload MiB/s"], cpu = with_cpu(contender, lambda: curl(f"{contender.base}/up/1g", "-T", source))
    for name, used in cpu.items():
        figures[f"upload CPU s/GiB {name}"] = used
    (nginx.up / "1g").unlink(missing_ok=True)
    for streams in (16, 64):
        figures[f"{streams} streams MiB/s"] = wrk(f"{contender.base}/16m", streams, seconds)["mib"]
    alone = wrk(f"{contender.base}/1k", 1, seconds)
    figures["1 KiB p50 ms"], figures["1 KiB p99 ms"] = alone["p50"], alone["p99"]
    busy = beside_bulk(contender, 8, seconds)
    figures["1 KiB beside 8 bulk p50 ms"], figures["1 KiB beside 8 bulk p99 ms"] = busy["p50"], busy["p99"]
    figures["requests/s at 64"] = wrk(f"{contender.base}/1k", 64, seconds)["rps"]
    return figures


def memory(processes, pki, nginx, binary, counts):
    """Resident memory of the sidecar with idle uplinks."""
    rows = []
    for count in counts:
        own = Processes()
        uplink = Uplink(own, pki, nginx, binary, f"-{count}", count)
        time.sleep(2)
        sidecar, gateway = uplink.pids["sidecar"], uplink.pids["gateway"]
        rows.append((count, memory_kib(sidecar), private_kib(sidecar), memory_kib(gateway)))
        own.stop()
    return rows


def report(rounds, memory_rows, loaded):
    lines = [f"Machine: {platform.machine()}, {os.cpu_count()} cores, {cpu_model()}, Linux {platform.release()}; "
             f"{len(next(iter(rounds.values())))} interleaved rounds, medians; ratio = to nginx TLS in the same round.", ""]
    names = list(rounds)
    figures = list(dict.fromkeys(key for name in names for key in rounds[name][0]))
    lines += ["| figure | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]
    for figure in figures:
        cells = []
        for name in names:
            values = [entry[figure] for entry in rounds[name] if figure in entry]
            cells.append(cell(figure, values, [entry.get(figure) for entry in rounds[names[0]]]))
        lines.append(f"| {figure} | " + " | ".join(cells) + " |")
    lines += ["", "| aim | wanted | measured |", "|---|---|---|"]
    lines += [f"| {name} | {wanted} | {value} |" for name, wanted, value in aims(rounds, memory_rows)]
    lines += ["", "| idle uplinks | sidecar resident KiB | of it private KiB | gateway resident KiB |", "|---|---|---|---|"]
    lines += [f"| {count} | {sidecar} | {private} | {gateway} |" for count, sidecar, private, gateway in memory_rows]
    lines.append(f"\nHighest resident memory in all of the load above: sidecar {loaded['sidecar']} KiB, gateway {loaded['gateway']} KiB.")
    return "\n".join(lines)


def aims(rounds, memory_rows):
    """What the best peers reach, and what this run measured: medians of per-round ratios or differences."""
    ours, bare, direct = rounds["onvif-uplink"], rounds["nginx TLS"], rounds.get("direct", [])

    def ratio(figure, of):
        return statistics.median(one[figure] / other[of] for one, other in zip(ours, bare))

    def median(figure):
        return statistics.median(entry[figure] for entry in ours)

    yield "download / nginx TLS", "1.0 or more", f"{ratio('download MiB/s', 'download MiB/s'):.2f}"
    for part, wanted in (("sidecar", "0.75 or less"), ("gateway", "")):
        yield f"CPU per GiB of the {part} / nginx TLS", wanted, f"{ratio(f'download CPU s/GiB {part}', 'download CPU s/GiB nginx'):.2f}"
    if direct:
        added = statistics.median(one["1 KiB p50 ms"] - other["1 KiB p50 ms"] for one, other in zip(ours, direct))
        yield "added p50 of a 1 KiB request", "120 us or less", f"{1e3 * added:.0f} us"
    for figure in ("download MiB/s", "upload MiB/s") if "onvif-uplink wss" in rounds else ():
        share = statistics.median(one[figure] / other[figure] for one, other in zip(rounds["onvif-uplink wss"], ours))
        yield f"{figure.split()[0]} over wss / over https", "0.8 or more", f"{share:.2f}"
    yield "1 KiB beside 8 bulk streams, p50", "2.5 ms or less", f"{median('1 KiB beside 8 bulk p50 ms'):.2f} ms"
    yield "1 KiB beside 8 bulk streams, p99", "8 ms or less", f"{median('1 KiB beside 8 bulk p99 ms'):.2f} ms"
    yield "requests/s at 64 / nginx TLS", "0.29 or more", f"{ratio('requests/s at 64', 'requests/s at 64'):.2f}"
    yield "resident with one uplink", "10240 KiB or less", f"{memory_rows[0][1]} KiB"
    (first, least, *_), (last, most, *_) = memory_rows[0], memory_rows[-1]
    yield "each further idle uplink", "64 KiB or less", f"{(most - least) / (last - first):.1f} KiB"


def cell(figure, values, base):
    if not values:
        return ""
    median = statistics.median(values)
    text = f"{median:.0f}" if median >= 100 else f"{median:.3g}"
    if None in base or len(base) != len(values) or "CPU" in figure:
        return text
    return f"{text} ({statistics.median(value / bare for value, bare in zip(values, base)):.2f})"


class Direct:
    """Plain HTTP to nginx: what added latency is added to."""

    name = "direct"

    def __init__(self, nginx):
        self.base = f"http://127.0.0.1:{nginx.http}"
        self.pids = {}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    add_binary(parser)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="2 s a figure and up to 100 idle uplinks: a smoke test of the harness")
    parser.add_argument("--idle", help="counts of idle uplinks whose memory is measured, for example 1,100,1000")
    parser.add_argument("--only", help="of the peers only those with this text in their name; nginx TLS and ours always")
    parser.add_argument("--json", help="also write every round's figures here")
    arguments = parser.parse_args()
    missing = [tool for tool in ("nginx", "stunnel4", "wrk", "curl", "openssl") if not shutil.which(tool, path=os.environ["PATH"] + ":/usr/sbin")]
    if missing:
        sys.exit(f"missing: {', '.join(missing)}; `make install-test-tools` installs them on Debian and Ubuntu")
    WORK.mkdir(parents=True, exist_ok=True)
    pki, processes, nginx = Pki(WORK / "pki"), Processes(), None
    try:
        nginx = Nginx(processes, pki)
        contenders = [Bare(nginx), Direct(nginx), Stunnel(processes, pki, nginx)]
        if shutil.which("rathole"):
            contenders.append(Rathole(processes, nginx))
        ours = Uplink(processes, pki, nginx, arguments.binary)
        contenders.append(Uplink(processes, pki, nginx, arguments.binary, "-wss", scheme="wss"))
        if arguments.only:
            contenders = [contenders[0]] + [one for one in contenders[1:] if arguments.only in one.name]
        contenders.append(ours)
        rounds = {contender.name: [] for contender in contenders}
        for index in range(arguments.rounds):
            for contender in contenders:
                print(f"round {index + 1}: {contender.name}", file=sys.stderr, flush=True)
                rounds[contender.name].append(measure(contender, nginx, arguments.quick))
        loaded = {name: memory_kib(pid, "VmHWM") for name, pid in ours.pids.items()}
        counts = [int(count) for count in (arguments.idle or ("1,100" if arguments.quick else "1,100,1000")).split(",")]
        memory_rows = memory(processes, pki, nginx, arguments.binary, counts)
        if arguments.json:
            pathlib.Path(arguments.json).write_text(json.dumps(rounds, indent=1))
        print(report(rounds, memory_rows, loaded))
    finally:
        processes.stop()
        if nginx:
            shutil.rmtree(nginx.up, ignore_errors=True)


if __name__ == "__main__":
    main()
