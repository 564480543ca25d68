"""`onvif-uplink connect`: raw ports of the device on an operator's machine, for what has no HTTP form: RTSP as it is, ssh."""

import contextlib
import os
import re
import socket
import socketserver
import subprocess
import threading
import unittest

import players
from support import BINARY, free_port, get, listens, metric, need, program, wait_for
from video import Shared

LARGE = os.urandom(1 << 20) * 8
WAIT = 20


class Echo(socketserver.BaseRequestHandler):
    """Sends back what comes until the end of it, then `bye`, then ends too."""

    def handle(self):
        with contextlib.suppress(ConnectionError):
            while data := self.request.recv(65536):
                self.request.sendall(data)
            self.request.sendall(b"bye")


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    # The default of 5 loses bytes of who comes while it is full, on this very loopback and without anything between.
    request_queue_size = 128


class Connect(Shared):
    @classmethod
    def furnish(cls, rig):
        echo = Server(("127.0.0.1", 0), Echo)
        threading.Thread(target=echo.serve_forever, daemon=True).start()
        rig.addCleanup(echo.server_close)
        rig.addCleanup(echo.shutdown)
        rig.echo, rig.closed, rig.ssh = echo.server_address[1], free_port(), free_port()
        rig.camera = rig.start_camera()
        ports = [rig.echo, rig.closed, rig.ssh, rig.camera]
        rig.start_both(rig.start_neighbour(), f"connectPorts: {ports}")

    def command(self, port, *flags):
        return [str(BINARY), "connect", "camera-1", str(port), "--gateway", f"http://127.0.0.1:{self.rig.front}", *flags]

    def by_standard_streams(self, port, data=b""):
        return subprocess.run(self.command(port), input=data, capture_output=True, timeout=60)

    def listening(self, port):
        """A local port that leads to the device's."""
        own = free_port()
        self.rig.start(f"connect-{port}", self.command(port, "--listen", f"127.0.0.1:{own}"))
        wait_for("the local port listens", lambda: listens(own))
        return own

    def test_standard_streams_carry_everything_and_the_end_of_each_side(self):
        run = self.by_standard_streams(self.rig.echo, LARGE)
        self.assertEqual(run.returncode, 0, run.stderr)
        self.assertTrue(run.stdout == LARGE + b"bye", f"{len(run.stdout)} bytes came back of {len(LARGE) + 3}")

    def test_a_local_port_serves_many_at_once(self):
        port = self.listening(self.rig.echo)
        with contextlib.ExitStack() as stack:
            all_of_them = [stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=WAIT)) for _ in range(20)]
            for number, connection in enumerate(all_of_them):
                connection.sendall(b"%d" % number)
                connection.shutdown(socket.SHUT_WR)
            for number, connection in enumerate(all_of_them):
                self.assertEqual(connection.makefile("rb").read(), b"%dbye" % number)

    def test_ffmpeg_speaks_rtsp_as_it_is(self):
        port = self.listening(self.rig.camera)
        with players.ffmpeg(self.log("ffmpeg"), f"rtsp://127.0.0.1:{port}/cam", "tcp") as player:
            self.assert_whole(player.pictures(50), 50)

    def test_ssh_to_the_device(self):
        need("ssh", "sshd", "ssh-keygen")
        if os.geteuid():
            raise unittest.SkipTest("sshd accepts only its own user when it does not run as root")
        home = self.rig.dir / "ssh"
        home.mkdir()
        for name in ("host", "user"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", home / name], check=True)
        (home / "authorized").write_text((home / "user.pub").read_text())
        os.makedirs("/run/sshd", exist_ok=True)
        self.rig.start("sshd", [program("sshd"), "-D", "-e", "-f", "/dev/null", "-p", self.rig.ssh, "-h", home / "host", "-o",
                                "ListenAddress=127.0.0.1", "-o", f"AuthorizedKeysFile={home}/authorized", "-o", "StrictModes=no",
                                "-o", "PidFile=none", "-o", "UsePAM=no"])
        wait_for("sshd listens", lambda: listens(self.rig.ssh))
        run = subprocess.run(["ssh", "-F", "none", "-i", home / "user", "-o", f"ProxyCommand={' '.join(self.command(self.rig.ssh))}",
                              "-o", "StrictHostKeyChecking=no", "-o", f"UserKnownHostsFile={home}/known", "-o", "BatchMode=yes",
                              "root@camera-1", "head -c 3000000 /dev/zero | wc -c; cat"], input=b"through ssh",
                             capture_output=True, timeout=60)
        self.assertEqual((run.returncode, run.stdout), (0, b"3000000\nthrough ssh"), run.stderr)

    def test_a_port_that_is_not_on_the_list_is_refused_and_counted(self):
        other = free_port()
        run = self.by_standard_streams(other)
        self.assertNotEqual(run.returncode, 0)
        self.assertIn(b"403", run.stderr)
        self.assertIn(str(other).encode(), run.stderr)
        self.assertGreaterEqual(metric(self.rig.admin, "onvif_uplink_connect_refused_total"), 1)

    def test_a_listed_port_where_nothing_listens_is_said(self):
        run = self.by_standard_streams(self.rig.closed)
        self.assertNotEqual(run.returncode, 0)
        self.assertRegex(run.stderr.decode(), re.compile("refused", re.I))

    def test_curl_connects_through_the_front_as_a_proxy(self):
        need("curl")
        run = subprocess.run(["curl", "-sS", "--proxytunnel", "--noproxy", "", "-x", f"http://127.0.0.1:{self.rig.front}", "-m", "20",
                              f"telnet://camera-1:{self.rig.echo}"], input=b"by curl", capture_output=True, timeout=60)
        self.assertIn(b"by curl", run.stdout, run.stderr)

    def test_the_device_still_answers_requests(self):
        self.assertEqual(get(f"http://127.0.0.1:{self.rig.front}/camera-1/hello"), b"hello")
