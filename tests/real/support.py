"""What the tests against real parts share: the binary, processes that end with the test, a throw-away PKI, waiting."""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import unittest
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
# Absolute: the tests start it in directories of their own. The default is what `make demo` builds.
BINARY = pathlib.Path(os.environ.get("ONVIF_UPLINK", TARGET / "demo" / "onvif-uplink")).resolve()
IN_CI = os.environ.get("CI") == "true"
# Never through an egress proxy of the environment: everything here is on loopback.
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def need(*programs):
    """Skips the test and says how to install what is missing; in CI run.py counts a skipped test as failed."""
    missing = [name for name in programs if shutil.which(name) is None and not pathlib.Path(f"/usr/sbin/{name}").exists()]
    if missing:
        raise unittest.SkipTest(f"{', '.join(missing)} not installed: make install-test-tools")


def program(name):
    """The path of a program; Debian keeps daemons in /usr/sbin, which users do not have in their path."""
    return shutil.which(name) or f"/usr/sbin/{name}"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(what, condition, seconds=30):
    """Calls `condition` until it returns something true, and returns that; fails with `what` after the deadline."""
    deadline = time.monotonic() + seconds
    last = None
    while time.monotonic() < deadline:
        try:
            value = condition()
            if value:
                return value
        except (OSError, ValueError, KeyError, IndexError) as error:
            last = error
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds} s: {what}" + (f" (last: {last})" if last else ""))


def get(url, headers=None, timeout=10):
    """Body of a GET."""
    with OPENER.open(urllib.request.Request(url, headers=headers or {}), timeout=timeout) as answer:
        return answer.read()


class Case(unittest.TestCase):
    """A test with a directory and processes of its own; a failure shows the end of every log."""

    def setUp(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="onvif-uplink-"))
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)
        self.logs, self.processes = [], {}
        self.addCleanup(self._show_logs)

    def _show_logs(self):
        outcome = getattr(self._outcome, "result", None)
        failed = outcome and any(test is self for test, _ in outcome.failures + outcome.errors)
        for log in self.logs if failed else []:
            print(f"--- {log.name}\n" + "\n".join(log.read_text(errors="replace").splitlines()[-30:]))

    def start(self, name, command, **options):
        """Starts a program that ends with the test; its output goes to NAME.log."""
        log = self.dir / f"{name}.log"
        self.logs.append(log)
        with log.open("wb") as output:
            process = subprocess.Popen([str(part) for part in command], stdin=subprocess.DEVNULL, stdout=output,
                                       stderr=subprocess.STDOUT, **options)
        self.addCleanup(stop, process)
        self.processes[name] = process
        return process

    def start_nginx(self, server_block, http_block=""):
        """nginx on a free loopback port, serving `self.dir/www`; returns the port."""
        need("nginx")
        port = free_port()
        home = self.dir / "nginx"
        home.mkdir()
        user = "user root;" if os.geteuid() == 0 else ""
        temporary = "".join(f"{kind}_temp_path {home}/{kind};" for kind in
                            ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        (home / "nginx.conf").write_text(
            f"{user} daemon off; master_process off; pid {home}/pid; error_log stderr;\n"
            f"events {{ worker_connections 256; }}\n"
            f"http {{ access_log off; sendfile on; {temporary} {http_block}\n"
            f"  server {{ listen 127.0.0.1:{port}; root {self.dir}/www; {server_block} }} }}\n")
        self.start("nginx", [program("nginx"), "-p", home, "-c", home / "nginx.conf"])
        wait_for("nginx listens", lambda: listens(port))
        return port

    def start_sidecar(self, config, *flags, **options):
        """The real binary as sidecar; returns (process, admin port)."""
        admin = free_port()
        process = self.start("sidecar", [BINARY, "run", "--config", config, "--admin", f"127.0.0.1:{admin}",
                                         "--grace-period", "3s", "--log-format", "text", *flags], **options)
        wait_for("the sidecar answers /livez", lambda: get(f"http://127.0.0.1:{admin}/livez") is not None)
        return process, admin

    def start_gateway(self, pki, *flags):
        """The real binary as gateway; returns (uplink port, front port)."""
        listen, front, admin = free_port(), free_port(), free_port()
        self.start("gateway", [BINARY, "gateway", "--listen", f"127.0.0.1:{listen}", "--cert", pki.path("server.crt"),
                               "--key", pki.path("server.key"), "--client-ca", pki.path("ca.crt"),
                               "--front", f"127.0.0.1:{front}", "--admin", f"127.0.0.1:{admin}", *flags])
        wait_for("the gateway's front listens", lambda: listens(front))
        return listen, front


def stop(process, seconds=10):
    """SIGTERM, then SIGKILL after the deadline; only this process."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def listens(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def status(admin):
    """The sidecar's /status as a dictionary."""
    return json.loads(get(f"http://127.0.0.1:{admin}/status"))


def uplink(admin, device):
    """The entry of one device in /status; KeyError, which `wait_for` waits out, if it is not there."""
    entries = {entry["device"]: entry for entry in status(admin)["uplinks"]}
    return entries[device]


def metric(admin, name):
    """Sum of all series of one metric; 0 if there is none yet."""
    lines = get(f"http://127.0.0.1:{admin}/metrics").decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith((name + "{", name + " ")))


class Pki:
    """A CA, a server certificate for localhost and client certificates by name, made by openssl as the README does."""

    def __init__(self, folder):
        need("openssl")
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
                      "-subj", "/CN=Test CA", "-keyout", "ca.key", "-out", "ca.crt")
        self.leaf("server", "/CN=localhost", "DNS:localhost,IP:127.0.0.1", "serverAuth")

    def server(self, name, names):
        """A server's certificate for other names than localhost."""
        self.leaf(name, f"/CN={name}", names, "serverAuth")

    def client(self, name):
        self.leaf(name, f"/CN={name}", f"DNS:{name}", "clientAuth")

    def path(self, name):
        return self.folder / name

    def leaf(self, file, subject, names, usage, days=30):
        """FILE.crt and FILE.key of a subject such as `/O=group/CN=name`."""
        self.openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                     "-subj", subject, "-keyout", f"{file}.key", "-out", f"{file}.csr")
        self.path(f"{file}.ext").write_text(f"subjectAltName={names}\nextendedKeyUsage={usage}\n")
        self.openssl("x509", "-req", "-in", f"{file}.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial",
                     "-days", str(days), "-extfile", f"{file}.ext", "-out", f"{file}.crt")

    def openssl(self, *arguments):
        subprocess.run(["openssl", *arguments], cwd=self.folder, check=True, capture_output=True)


def document(pki, devices, remote, settings=(), keys=()):
    """A configuration: `devices` is a list of (name, loopback port or URL, user level); `settings` are lines of each uplink,
    `keys` further lines of each device."""
    text = "devices:\n"
    for name, port, level in devices:
        http = port if isinstance(port, str) else f"http://127.0.0.1:{port}"
        lines = "".join(f"    {line}\n" for line in keys)
        text += (f"  - name: {name}\n    http: {http}\n{lines}    uplinks:\n      - remoteAddress: {remote}\n"
                 f"        certificateID: {name}\n        userLevel: {level}\n        certPathValidationPolicyID: ca\n")
        text += "".join(f"        {line}\n" for line in settings)
    text += "certificates:\n"
    for name, _, _ in devices:
        text += f"  {name}: {{ certFile: {pki.path(name + '.crt')}, keyFile: {pki.path(name + '.key')} }}\n"
    return text + f"certPathValidationPolicies:\n  ca: {{ trustAnchorFiles: [ {pki.path('ca.crt')} ] }}\n"
