"""Cameras that ask for credentials, of other people's making, used through gateway and sidecar without any: apache's Digest,
motion's, a SHA-256 one in Python, and the emulator started as its users start it."""

import hashlib
import http.server
import os
import re
import subprocess
import threading
import time
import urllib.error
import urllib.request

import players
from support import BINARY, Case, OPENER, Pki, document, free_port, get, listens, need, program, uplink, wait_for
from video import Plays, Shared

USER, PASSWORD, REALM = "admin", "pass word 7", "camera"
SOAP = ('<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"><s:Body><GetDeviceInformation '
        'xmlns="http://www.onvif.org/ver10/device/wsdl"/></s:Body></s:Envelope>')


def status_of(url, data=None, headers=None):
    """Status, head and body of an answer, whatever the status."""
    request = urllib.request.Request(url, data=data, headers=headers or {})
    try:
        with OPENER.open(request, timeout=20) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as refusal:
        return refusal.code, refusal.headers, refusal.read()


class Sha256Camera(http.server.BaseHTTPRequestHandler):
    """Offers SHA-256 and MD5, as RFC 7616 §3.7 shows, and takes SHA-256 only. A nonce is good for five requests in a row."""

    protocol_version = "HTTP/1.1"
    shown, nonces = [], {}

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        shown = self.headers.get("Authorization", "")
        self.shown.append(shown)
        field = dict(re.findall(r'(\w+)="?([^",]*)"?', shown))
        granted = field.get("algorithm") == "SHA-256" and self.digest(field) == field.get("response")
        count = int(field.get("nc", "0"), 16)
        fresh = granted and count == self.nonces.get(field["nonce"], 99) + 1 and count <= 5
        if fresh:
            self.nonces[field["nonce"]] = count
            return self.answer(200, body)
        nonce = os.urandom(8).hex()
        self.nonces[nonce] = 0
        stale = ", stale=true" if granted else ""
        self.answer(401, b"", [f'Digest realm="{REALM}", qop="auth", algorithm={name}, nonce="{nonce}"{stale}'
                               for name in ("SHA-256", "MD5")])

    def digest(self, field):
        def h(text):
            return hashlib.sha256(text.encode()).hexdigest()
        if field.get("uri") != self.path or field.get("qop") != "auth":
            return None
        key = h(f"{field['username']}:{REALM}:{PASSWORD}")
        return h(f"{key}:{field['nonce']}:{field['nc']}:{field['cnonce']}:auth:{h(f'{self.command}:{self.path}')}")

    def answer(self, status, body, challenges=()):
        self.send_response(status)
        for challenge in challenges:
            self.send_header("WWW-Authenticate", challenge)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Credentials(Case):
    def reach(self, port, password=PASSWORD):
        """Gateway and sidecar for a neighbour on `port`, with an account; returns the base of its URLs and the admin port."""
        pki = Pki(self.dir / "pki")
        pki.client("camera-1")
        listen, front = self.start_gateway(pki)
        (self.dir / "password").write_text(password + "\n")
        account = f"    credentials:\n      Administrator: {{ username: {USER}, passwordFile: {self.dir}/password }}\n"
        config = self.dir / "uplinks.yaml"
        text = document(pki, [("camera-1", port, "Administrator")], f"https://localhost:{listen}/uplink")
        config.write_text(text.replace("    uplinks:\n", account + "    uplinks:\n"))
        _, admin = self.start_sidecar(config)
        json_only = {"Accept": "application/json"}
        wait_for("the gateway lists camera-1",
                 lambda: b"camera-1" in get(f"http://127.0.0.1:{front}/devices", json_only))
        return f"http://127.0.0.1:{front}/camera-1", admin

    def start_apache(self):
        """apache with Digest before all files, whose nonces end after a second."""
        need("apache2")
        port, home = free_port(), self.dir / "apache"
        (home / "www").mkdir(parents=True)
        (home / "www" / "hello").write_text("hello\n")
        (home / "www" / "large").write_bytes(bytes(range(256)) * 4096 * 20)
        key = hashlib.md5(f"{USER}:{REALM}:{PASSWORD}".encode()).hexdigest()
        (home / "users").write_text(f"{USER}:{REALM}:{key}\n")
        modules = "".join(f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n" for name in
                          ("mpm_event", "authn_core", "authn_file", "authz_core", "authz_user", "auth_digest"))
        identity = "User www-data\nGroup www-data\n" if os.geteuid() == 0 else ""
        if os.geteuid() == 0:
            # The workers are nobody; the test's directory is for its owner only.
            self.dir.chmod(0o755)
        (home / "apache.conf").write_text(
            f"ServerName localhost\nServerRoot {home}\nDefaultRuntimeDir {home}\nPidFile {home}/pid\nListen 127.0.0.1:{port}\n"
            f"{modules}{identity}ErrorLog {home}/error.log\nLogFormat \"%>s %u\" short\nDocumentRoot {home}/www\n"
            f"<Location />\n  AuthType Digest\n  AuthName {REALM}\n  AuthDigestProvider file\n  AuthDigestNonceLifetime 1\n"
            f"  AuthUserFile {home}/users\n  Require valid-user\n</Location>\n")
        self.start("apache", [program("apache2"), "-f", home / "apache.conf", "-D", "FOREGROUND"])
        wait_for("apache listens", lambda: listens(port))
        return port

    def test_apaches_digest_is_answered_its_nonces_end_and_large_files_arrive(self):
        need("curl")
        port = self.start_apache()
        direct = f"http://127.0.0.1:{port}/hello"
        self.assertEqual(status_of(direct)[0], 401)
        said = subprocess.run(["curl", "-s", "--noproxy", "*", "--digest", "-u", f"{USER}:{PASSWORD}", direct],
                              capture_output=True, check=True).stdout
        self.assertEqual(said, b"hello\n", "apache itself is set up wrong")
        base, admin = self.reach(port)
        for _ in range(3):
            status, head, body = status_of(f"{base}/hello", headers={"Cookie": "a=b"})
            self.assertEqual((status, body), (200, b"hello\n"))
            self.assertFalse([name for name in head if name.lower() in ("www-authenticate", "authentication-info")])
            # Longer than the nonce lives.
            time.sleep(1.5)
        large = get(f"{base}/large", timeout=60)
        self.assertEqual(hashlib.sha256(large).digest(), hashlib.sha256(bytes(range(256)) * 4096 * 20).digest())
        self.assertEqual(status_of(f"{base}/none")[0], 404)
        self.assertIsNone(uplink(admin, "camera-1")["deviceError"])

    def test_a_wrong_password_is_tried_once_told_and_mended_by_its_file(self):
        port = self.start_apache()
        base, admin = self.reach(port, "wrong")
        for _ in range(5):
            status, head, body = status_of(f"{base}/hello")
            self.assertEqual((status, head.get("WWW-Authenticate")), (502, None), body)
        refused = (self.dir / "apache" / "error.log").read_text().count("password mismatch")
        self.assertEqual(refused, 1)
        error = uplink(admin, "camera-1")["deviceError"]
        self.assertEqual((error["phase"], error["cause"]), ("device", "device-credentials-refused"))
        (self.dir / "password").write_text(PASSWORD + "\n")
        wait_for("the new password is taken", lambda: status_of(f"{base}/hello")[0] == 200)
        self.assertIsNone(uplink(admin, "camera-1")["deviceError"])

    def test_sha_256_is_preferred_and_stale_nonces_are_renewed(self):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Sha256Camera)
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        base, admin = self.reach(server.server_address[1])
        for number in range(12):
            body = f"body {number}".encode()
            answer = status_of(f"{base}/a?b={number}", body, {"Content-Type": "x/y", "Authorization": "Bearer mine"})
            self.assertEqual((answer[0], answer[2]), (200, body))
        self.assertFalse([shown for shown in Sha256Camera.shown if "MD5" in shown or "mine" in shown])
        # Each nonce lasts five requests; its end costs one, and so does the first challenge.
        self.assertEqual(len(Sha256Camera.shown), 12 + 3)
        self.assertIsNone(uplink(admin, "camera-1")["deviceError"])

    def test_motions_pictures_come_through_its_digest(self):
        need("motion", "ffmpeg")
        port, clip = free_port(), self.dir / "clip.mp4"
        subprocess.run(["ffmpeg", "-loglevel", "error", "-f", "lavfi", "-i", "testsrc=size=320x240:rate=10", "-t", "10",
                        "-c:v", "mpeg4", clip], check=True, stdin=subprocess.DEVNULL)
        conf = self.dir / "motion.conf"
        conf.write_text(f"daemon off\nsetup_mode off\nnetcam_url file://{clip}\nwidth 320\nheight 240\nframerate 10\n"
                        f"stream_port {port}\nstream_localhost on\nstream_auth_method 2\n"
                        f"stream_authentication {USER}:{PASSWORD}\nwebcontrol_port 0\nmovie_output off\npicture_output off\n")
        self.start("motion", [program("motion"), "-n", "-c", conf], cwd=self.dir)
        wait_for("motion listens", lambda: listens(port))
        wait_for("motion asks for credentials", lambda: status_of(f"http://127.0.0.1:{port}/current")[0] == 401)
        base, _ = self.reach(port)
        wait_for("motion has a picture", lambda: status_of(f"{base}/current")[2][:2] == b"\xff\xd8")
        with OPENER.open(f"{base}/", timeout=20) as stream:
            pictures = sum(stream.read(65536).count(b"\xff\xd8") for _ in range(4))
        self.assertGreater(pictures, 2)

    def test_the_emulator_asks_in_each_way_and_is_used_in_each(self):
        for auth, skew in (("digest", 0), ("digest-sha256", 0), ("basic", 0), ("wsse", 7200)):
            with self.subTest(auth=auth):
                port, home = free_port(), self.dir / auth
                home.mkdir()
                (home / "account").write_text(f"{USER}:{PASSWORD}\n")
                self.start(f"camera-{auth}", [BINARY, "camera", "--http", f"127.0.0.1:{port}", "--credentials-file",
                                              home / "account", "--auth", auth, "--lock-out", "1", "--clock-skew", skew])
                wait_for("the camera listens", lambda: listens(port))
                self.assertEqual(status_of(f"http://127.0.0.1:{port}/snapshot.jpg")[0], 401)
                base, _ = self.reach_in(home, port)
                headers = {"Content-Type": "application/soap+xml; charset=utf-8"}
                for _ in range(2):
                    status, _, body = status_of(f"{base}/onvif/device_service", SOAP.encode(), headers)
                    self.assertEqual((status, b"Camera emulator" in body), (200, True), body)
                    self.assertEqual(status_of(f"{base}/snapshot.jpg")[2][:2], b"\xff\xd8")

    def reach_in(self, home, port):
        """The same in a directory of its own."""
        before, self.dir = self.dir, home
        try:
            return self.reach(port)
        finally:
            self.dir = before


class Watched:
    """Players without a password watch a camera that asks for Digest; through gateway and sidecar, both ways of RTSP."""

    password, flags = PASSWORD, ("--digest", f"{USER}:{PASSWORD}")

    @classmethod
    def furnish(cls, rig):
        rig.camera = rig.start_camera(*cls.flags)
        (rig.dir / "password").write_text(cls.password + "\n")
        account = f"credentials: {{ Administrator: {{ username: {USER}, passwordFile: {rig.dir}/password }} }}"
        http, *more = cls.ways(rig)
        rig.start_both(http, account, *more)

    @classmethod
    def ways(cls, rig):
        """The port of the web service, and further lines of the device."""
        raise NotImplementedError

    def rtsp(self, scheme="rtsp"):
        return f"{scheme}://127.0.0.1:{self.rig.rtsp}/camera-1/cam"

    def http(self, scheme="rtsp"):
        return f"{scheme}://127.0.0.1:{self.rig.front}/camera-1/cam"

    def tunnel_port(self):
        return self.rig.front


class Knows:
    """The sidecar's password is right."""

    def test_the_password_of_a_player_does_not_count(self):
        url = self.rtsp().replace("//", "//somebody:wrong@", 1)
        self.plays(players.ffmpeg(self.log("ffmpeg"), url, "tcp"))

    def test_the_camera_itself_refuses_who_knows_no_password(self):
        with players.ffmpeg(self.log("ffmpeg"), f"rtsp://127.0.0.1:{self.rig.camera}/cam", "tcp") as player:
            self.assertEqual(player.pictures(1), [])

    def test_nothing_is_wrong_in_the_status(self):
        self.plays(players.ffmpeg(self.log("ffmpeg"), self.rtsp(), "tcp"))
        self.assertIsNone(uplink(self.rig.admin, "camera-1")["deviceError"])


class CredentialsTunnelled(Watched, Knows, Plays, Shared):
    """The camera carries RTSP over HTTP itself."""

    @classmethod
    def ways(cls, rig):
        return [rig.camera]


class CredentialsBridged(Watched, Knows, Plays, Shared):
    """The camera has an RTSP port only, beside a web service that knows nothing of it."""

    flags = (*Watched.flags, "--no-tunnel")

    @classmethod
    def ways(cls, rig):
        return [rig.start_neighbour(), f"rtsp: rtsp://127.0.0.1:{rig.camera}"]


class CredentialsWrong(Watched, Shared):
    """The sidecar's password is wrong."""

    password = "wrong"

    @classmethod
    def ways(cls, rig):
        return [rig.camera]

    def test_nobody_watches_and_the_status_says_why_until_the_file_is_right(self):
        for transport, url in (("tcp", self.rtsp()), ("http", self.http())):
            with players.ffmpeg(self.log("ffmpeg"), url, transport) as player:
                self.assertEqual(player.pictures(1), [])
                self.assertNotEqual(player.ended(), 0)
        error = uplink(self.rig.admin, "camera-1")["deviceError"]
        self.assertEqual((error["phase"], error["cause"]), ("device", "device-credentials-refused"))
        self.assertNotRegex((self.rig.dir / "ffmpeg.log").read_text(), r"\b401\b")  # a port may hold the digits
        (self.rig.dir / "password").write_text(PASSWORD + "\n")

        def watches():
            with players.ffmpeg(self.log("again"), self.rtsp(), "tcp") as player:
                return len(player.pictures(10, seconds=5)) == 10

        wait_for("the new password is taken", watches)
