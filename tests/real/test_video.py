"""An unmodified RTSP camera (GStreamer's server) through gateway, uplink and sidecar, played by ffmpeg, GStreamer and live555.

Each picture carries its number and time: the tests prove that none was lost or repeated. The same cases run against the camera
directly, which proves the cases.
"""

import contextlib
import os
import signal
import statistics
import time

import players
from support import get, uplink, wait_for
from video import Plays, Shared

CREDENTIALS = "admin:pw"
# How long the stream of the long test lasts, in s; `make test-video SECONDS=1800` for half an hour.
SECONDS = int(os.environ.get("VIDEO_SECONDS", "20"))
RATE = 25
# What a picture may be older, in the median, through the uplink than directly: a quarter of a frame.
ADDED_MS = 10


class Camera(Plays):
    """The camera, and how players name it directly."""

    flags, userinfo = (), ""

    @classmethod
    def furnish(cls, rig):
        rig.camera = rig.start_camera(*cls.flags)

    def direct(self):
        return f"rtsp://{self.userinfo}127.0.0.1:{self.rig.camera}/cam"


class Direct(Camera):
    pictures = 25

    def rtsp(self, scheme="rtsp"):
        return self.direct().replace("rtsp", scheme, 1)

    http = rtsp

    def tunnel_port(self):
        return self.rig.camera


class Uplinked(Camera):
    """Through gateway and sidecar, to a camera whose web port carries RTSP over HTTP itself."""

    @classmethod
    def furnish(cls, rig):
        super().furnish(rig)
        rig.start_both(rig.camera)

    def rtsp(self, scheme="rtsp"):
        return f"{scheme}://{self.userinfo}127.0.0.1:{self.rig.rtsp}/camera-1/cam"

    def http(self, scheme="rtsp"):
        return f"{scheme}://{self.userinfo}127.0.0.1:{self.rig.front}/camera-1/cam"

    def tunnel_port(self):
        return self.rig.front


class Bridged(Uplinked):
    """To a camera that speaks plain RTSP only, beside a web service that knows nothing of it: the sidecar bridges."""

    flags = ("--no-tunnel",)

    @classmethod
    def furnish(cls, rig):
        Camera.furnish.__func__(cls, rig)
        rig.start_both(rig.start_neighbour(), f"rtsp: rtsp://127.0.0.1:{rig.camera}")


class Digest:
    """The player's Digest reaches the camera and is right there, although the player may know the camera by other addresses."""

    flags, userinfo = ("--digest", CREDENTIALS), CREDENTIALS + "@"

    def test_a_wrong_password_is_refused(self):
        url = self.rtsp().replace(CREDENTIALS, "admin:wrong")
        with players.ffmpeg(self.log("ffmpeg"), url, "tcp") as player:
            self.assertEqual(player.pictures(1), [])
            self.assertNotEqual(player.ended(), 0)


class Viewers:
    """Several viewers, how late they are, and what they leave behind."""

    def test_six_viewers_at_once_lose_nothing(self):
        with contextlib.ExitStack() as stack:
            urls = [self.rtsp(), self.http("rtsph")] * 3
            for player in [stack.enter_context(players.gstreamer(self.log("gstreamer"), url)) for url in urls]:
                self.assert_whole(player.pictures(self.pictures), self.pictures)

    def test_a_stalled_viewer_stops_nobody_else(self):
        with players.gstreamer(self.log("stalled"), self.rtsp()) as stalled:
            self.assertEqual(len(stalled.pictures(5)), 5)
            for process in stalled.processes:
                process.send_signal(signal.SIGSTOP)
            try:
                self.plays(players.gstreamer(self.log("gstreamer"), self.rtsp()))
                self.plays(players.gstreamer(self.log("gstreamer"), self.http("rtsph")))
            finally:
                for process in stalled.processes:
                    process.send_signal(signal.SIGCONT)

    def test_the_uplink_adds_little_delay(self):
        def median(url):
            with players.gstreamer(self.log("gstreamer"), url) as player:
                pictures = player.pictures(75)
            self.assert_whole(pictures, 75)
            # The first second is the player's start.
            return statistics.median(picture.age for picture in pictures[RATE:])

        direct = median(self.direct())
        for url in (self.rtsp(), self.http("rtsph")):
            with self.subTest(url=url):
                self.assertLess(median(url) - direct, ADDED_MS)

    def test_a_viewer_that_leaves_leaves_nothing_open(self):
        for kill in ("terminate", "kill"):
            with self.subTest(how=kill), players.ffmpeg(self.log("ffmpeg"), self.rtsp(), "tcp") as player:
                self.assertEqual(len(player.pictures(10)), 10)
                getattr(player.processes[-1], kill)()
                player.processes[-1].wait(5)
                wait_for("no stream is open", lambda: uplink(self.rig.admin, "camera-1")["session"]["streamsOpen"] == 0, 15)


class DirectVideo(Direct, Shared):
    """Without the product: the cases themselves."""


class DirectDigestVideo(Digest, Direct, Shared):
    pass


class UplinkVideo(Viewers, Uplinked, Shared):
    pass


class BridgedVideo(Viewers, Bridged, Shared):
    def test_requests_are_answered_at_once_beside_the_streams(self):
        with contextlib.ExitStack() as stack:
            for player in [stack.enter_context(players.gstreamer(self.log("gstreamer"), self.rtsp())) for _ in range(4)]:
                self.assertEqual(len(player.pictures(5)), 5)
            began = time.monotonic()
            for _ in range(50):
                self.assertEqual(get(f"http://127.0.0.1:{self.rig.front}/camera-1/hello"), b"hello")
            self.assertLess((time.monotonic() - began) / 50, 0.1)


class UplinkDigestVideo(Digest, Uplinked, Shared):
    pass


class BridgedDigestVideo(Digest, Bridged, Shared):
    flags = ("--no-tunnel", *Digest.flags)


class LongVideo(Shared):
    """SECONDS of 25 frames/s: no frame is lost, and no session ends."""

    @classmethod
    def furnish(cls, rig):
        camera = rig.start_camera()
        rig.start_both(camera)

    def test_a_long_stream_loses_no_frame(self):
        since = uplink(self.rig.admin, "camera-1")["session"]["since"]
        count, began = SECONDS * RATE, time.monotonic()
        with players.gstreamer(self.log("gstreamer"), f"rtsp://127.0.0.1:{self.rig.rtsp}/camera-1/cam") as player:
            pictures = player.pictures(count, SECONDS + 30)
        self.assert_whole(pictures, count)
        self.assertGreater(time.monotonic() - began, SECONDS - 2, "faster than the camera makes them?")
        self.assertEqual(uplink(self.rig.admin, "camera-1")["session"]["since"], since)
        ages = sorted(picture.age for picture in pictures[RATE:])
        print(f"{count} frames; age p50 {ages[len(ages) // 2]} ms, p99 {ages[len(ages) * 99 // 100]} ms, most {ages[-1]} ms")
