"""What the benchmarks share: processes, ports, a throw-away PKI, figures of a process."""

import contextlib
import os
import pathlib
import platform
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
WORK = ROOT / "target" / "bench"


def add_binary(parser):
    """`--binary`, absolute: a program that enters a namespace leaves the folder that a relative path began in."""
    parser.add_argument("--binary", default=ROOT / "target" / "release" / "onvif-uplink", type=lambda path: pathlib.Path(path).resolve(),
                        help="the program to measure (default: %(default)s)")


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def wait_for(check, what, seconds=20, every=0.02):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            if check():
                return
        time.sleep(every)
    for log in Processes.logs:
        print(f"-- {log}", *log.read_text().splitlines()[-10:], sep="\n", file=sys.stderr)
    sys.exit(f"{what} did not come up within {seconds} s")


def listens(port):
    with socket.create_connection(("127.0.0.1", port), timeout=1):
        return True


def fetch(url):
    with urllib.request.urlopen(url, timeout=5) as response:
        return response.read()


def run(*command):
    return subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True).stdout


def cpu_seconds(pid):
    """User and system time of a process and the children that it waits for."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_kib(pid, what="VmRSS"):
    """VmRSS: resident now; VmHWM: the highest so far."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(rf"{what}:\s+(\d+)", status).group(1))


def private_kib(pid):
    """Without the pages of the binary and the C library, which all processes of a node share."""
    rollup = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(re.search(r"Private_Dirty:\s+(\d+)", rollup).group(1))


class Pki:
    """A throw-away CA, a server certificate for 127.0.0.1 and localhost, client certificates by name."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "ca.crt").exists():
            self.openssl("req", "-x509", *self.new_key("ca"), "-out", "ca.crt", "-days", "30", "-subj", "/CN=bench CA")
        if not (folder / "server.crt").exists():
            (folder / "san.cnf").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
            self.issue("server", "-extfile", "san.cnf")

    def openssl(self, *arguments):
        subprocess.run(["openssl", *arguments], cwd=self.folder, check=True, capture_output=True)

    @staticmethod
    def new_key(name):
        return ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{name}.key")

    def issue(self, name, *extra):
        if not (self.folder / f"{name}.crt").exists():
            self.openssl("req", *self.new_key(name), "-out", f"{name}.csr", "-subj", f"/CN={name}")
            if not extra:
                (self.folder / "client.cnf").write_text("extendedKeyUsage=clientAuth\n")
                extra = ("-extfile", "client.cnf")
            self.openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial",
                         "-days", "30", "-out", f"{name}.crt", *extra)
        return self.folder / f"{name}.crt", self.folder / f"{name}.key"


class Processes:
    """Everything that was started, ended together."""

    logs = []  # of all that was started, for a failure to show

    def __init__(self):
        self.running = []

    def start(self, name, *command, env=None):
        self.logs.append(WORK / f"{name}.log")
        log = open(self.logs[-1], "w")
        process = subprocess.Popen([str(part) for part in command], stdout=log, stderr=log, env=env)
        self.running.append(process)
        return process.pid

    def stop(self):
        for process in reversed(self.running):
            process.send_signal(signal.SIGTERM)
        for process in self.running:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def cpu_model():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()
