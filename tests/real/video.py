"""What the tests of streams share: a camera, and a sidecar and a gateway before it, that serve all tests of a class."""

import subprocess
import unittest

import neighbour
import players
from support import Case, Pki, document, free_port, get, listens, need, wait_for

SYSTEM_PYTHON = "/usr/bin/python3"  # GStreamer's bindings belong to Debian's own
HERE = neighbour.__file__.rsplit("/", 1)[0]
CAMERA = f"{HERE}/rtsp_camera.py"
# Of the first pictures a player may have, before the camera's own clock runs ahead of it.
FIRST = 2


def need_gstreamer():
    """GStreamer's RTSP server, or why not."""
    need(SYSTEM_PYTHON)
    tried = subprocess.run([SYSTEM_PYTHON, "-c", "import gi; gi.require_version('GstRtspServer', '1.0')"],
                           capture_output=True)
    if tried.returncode:
        raise unittest.SkipTest("GStreamer's RTSP server is not installed: make install-test-tools")


class Rig(Case):
    """Directory and processes of a whole class of tests; not a test itself."""

    def runTest(self):
        raise NotImplementedError

    def start_camera(self, *flags):
        """GStreamer's RTSP server; returns its port."""
        need_gstreamer()
        port = free_port()
        self.start("camera", [SYSTEM_PYTHON, CAMERA, port, *flags])
        wait_for("the camera listens", lambda: listens(port))
        return port

    def start_neighbour(self):
        """A web service of the device that knows nothing of RTSP; returns its port."""
        server = neighbour.start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        return server.server_port

    def start_both(self, http, *keys, level="Administrator"):
        """Gateway and sidecar for camera-1, whose `http` is a port or a URL and whose further keys are lines."""
        pki = Pki(self.dir / "pki")
        pki.client("camera-1")
        self.rtsp = free_port()
        listen, self.front = self.start_gateway(pki, "--rtsp", f"127.0.0.1:{self.rtsp}")
        config = self.dir / "uplinks.yaml"
        config.write_text(document(pki, [("camera-1", http, level)], f"https://localhost:{listen}/uplink", keys=keys))
        _, self.admin = self.start_sidecar(config)
        json_only = {"Accept": "application/json"}
        wait_for("the gateway lists camera-1",
                 lambda: b"camera-1" in get(f"http://127.0.0.1:{self.front}/devices", json_only))

    def show_logs(self):
        """The end of each log: a test of the class failed."""
        for log in self.logs:
            print(f"--- {log.name}\n" + "\n".join(log.read_text(errors="replace").splitlines()[-20:]))


class Shared(unittest.TestCase):
    """Tests over one rig. A subclass says in `furnish` what stands in it."""

    @classmethod
    def setUpClass(cls):
        cls.rig = Rig()
        cls.addClassCleanup(cls.rig.doCleanups)
        cls.rig.setUp()
        try:
            cls.furnish(cls.rig)
        except (AssertionError, OSError):
            cls.rig.show_logs()
            raise

    @classmethod
    def furnish(cls, rig):
        raise NotImplementedError

    def tearDown(self):
        result = getattr(self._outcome, "result", None)
        if result and any(test is self for test, _ in result.failures + result.errors):
            self.rig.show_logs()

    def assert_whole(self, pictures, count):
        """All of them came, each was read, none is missing or twice, from the camera's first on."""
        numbers = [picture.stamp and picture.stamp.number for picture in pictures]
        self.assertEqual(len(numbers), count, f"the player ended early, after {numbers[-3:]}")
        self.assertNotIn(None, numbers, "a picture was damaged")
        self.assertLessEqual(numbers[0], FIRST, "the first pictures were lost")
        self.assertEqual(numbers, list(range(numbers[0], numbers[0] + count)))

    def log(self, player):
        path = self.rig.dir / f"{player}.log"
        if path not in self.rig.logs:
            self.rig.logs.append(path)
        return path


class Plays:
    """What each player does with a camera: plays two seconds of 25 frames/s without losing or repeating one. A class of
    tests gives the URLs: `rtsp()`, and `http()` and `tunnel_port()` for the HTTP tunnel."""

    pictures = 50

    def rtsp(self, scheme="rtsp"):
        raise NotImplementedError

    def http(self, scheme="rtsp"):
        raise NotImplementedError

    def tunnel_port(self):
        raise NotImplementedError

    def plays(self, player):
        with player:
            self.assert_whole(player.pictures(self.pictures), self.pictures)

    def test_ffmpeg_plays_interleaved(self):
        self.plays(players.ffmpeg(self.log("ffmpeg"), self.rtsp(), "tcp"))

    def test_ffmpeg_plays_through_the_http_tunnel(self):
        self.plays(players.ffmpeg(self.log("ffmpeg"), self.http(), "http"))

    def test_gstreamer_plays_interleaved(self):
        self.plays(players.gstreamer(self.log("gstreamer"), self.rtsp()))

    def test_gstreamer_plays_through_the_http_tunnel(self):
        self.plays(players.gstreamer(self.log("gstreamer"), self.http("rtsph")))

    def test_live555_plays_interleaved(self):
        self.plays(players.live555(self.log("live555"), self.rtsp()))

    def test_live555_plays_through_the_http_tunnel(self):
        self.plays(players.live555(self.log("live555"), self.http(), self.tunnel_port()))
