"""The demo as a user starts it: devices, snapshot and stream by curl, a picture in headless Chromium, video in
ffmpeg, Ctrl-C."""

import io
import json
import os
import re
import signal
import subprocess

from PIL import Image, ImageChops, ImageStat
from support import BINARY, Case, OPENER, free_port, get, need, program, wait_for
from test_camera import assert_every_picture
from test_neighbours import mjpeg_frames

CHROMIUM = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
            "--no-proxy-server", "--hide-scrollbars", "--force-device-scale-factor=1", "--window-size=1400,1000",
            "--timeout=8000"]


def screenshot(case, url):
    """What Chromium shows of `url` after its load, at most 8 s, as an RGB picture."""
    need("chromium")
    file = case.dir / "screen.png"
    run = subprocess.run([program("chromium"), *CHROMIUM, f"--user-data-dir={case.dir}/chromium", f"--screenshot={file}",
                          url], capture_output=True, timeout=90, stdin=subprocess.DEVNULL)
    if not file.exists():
        raise AssertionError(f"Chromium made no picture: {run.stderr.decode(errors='replace')[-2000:]}")
    return Image.open(file).convert("RGB")


def shows(page, picture):
    """Mean difference (0 to 255) between the top left of a screenshot and the picture that should stand there."""
    corner = page.crop((0, 0, min(page.width, picture.width), min(page.height, picture.height)))
    return sum(ImageStat.Stat(ImageChops.difference(corner, picture.crop((0, 0, *corner.size)))).mean) / 3


def contains(page, picture):
    """How much of the picture's colours (3 bits each channel, by count) a page shows anywhere: 0 to 1."""
    def counts(image):
        coarse = image.point(lambda value: value & 0xE0).getcolors(maxcolors=512)
        return {colour: count for count, colour in coarse}

    there = counts(page)
    both = sum(min(count, there.get(colour, 0)) for colour, count in counts(picture).items())
    return both / (picture.width * picture.height)


class Demo(Case):
    def setUp(self):
        super().setUp()
        self.port = free_port()
        self.demo = self.start("demo", [BINARY, "demo", "--dir", self.dir / "demo", "--front", f"127.0.0.1:{self.port}",
                                        "--rtsp", f"127.0.0.1:{free_port()}"])
        self.front = f"http://127.0.0.1:{self.port}"
        wait_for("the demo lists camera-1", lambda: any(self.names()))

    def names(self):
        text = get(f"{self.front}/devices", {"Accept": "application/json"}).decode()
        return [text] if "camera-1" in json.dumps(json.loads(text)) else []

    def test_the_snapshot_is_a_real_picture(self):
        picture = self.snapshot()
        self.assertGreaterEqual(picture.width, 160)
        self.assertGreater(max(ImageStat.Stat(picture).stddev), 5, "a picture of one colour shows nothing")

    def test_the_stream_moves(self):
        with OPENER.open(f"{self.front}/camera-1/stream.mjpeg", timeout=15) as stream:
            frames = mjpeg_frames(stream, 10)
        first, last = (Image.open(io.BytesIO(frame)).convert("RGB") for frame in (frames[0], frames[-1]))
        self.assertIsNotNone(ImageChops.difference(first, last).getbbox(), "ten pictures and nothing moved")

    def test_curl_gets_the_page_and_the_device_service(self):
        need("curl")
        page = subprocess.run(["curl", "-fsS", "--noproxy", "*", "-m", "10", f"{self.front}/camera-1/"], check=True,
                              capture_output=True).stdout
        self.assertIn(b"<html", page.lower())
        ask = ('<?xml version="1.0"?><s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"><s:Body>'
               '<GetSystemDateAndTime xmlns="http://www.onvif.org/ver10/device/wsdl"/></s:Body></s:Envelope>')
        answer = subprocess.run(["curl", "-fsS", "--noproxy", "*", "-m", "10", "-H",
                                 "Content-Type: application/soap+xml; charset=utf-8", "-d", ask,
                                 f"{self.front}/camera-1/onvif/device_service"], check=True, capture_output=True).stdout
        self.assertIn(b"GetSystemDateAndTimeResponse", answer)

    def test_chromium_shows_the_snapshot(self):
        self.assert_shown("snapshot.jpg")

    def test_chromium_shows_the_stream(self):
        self.assert_shown("stream.mjpeg")

    def assert_shown(self, path):
        html = self.dir / "page.html"
        html.write_text(f'<body style="margin:0;background:#f0f"><img src="{self.front}/camera-1/{path}">')
        page = screenshot(self, html.as_uri())
        # Between the two the picture moved and its clock went on: alike, not equal. Magenta would differ by far more.
        self.assertLess(shows(page, self.snapshot()), 25)

    def snapshot(self):
        return Image.open(io.BytesIO(get(f"{self.front}/camera-1/snapshot.jpg"))).convert("RGB")

    def test_chromium_shows_the_cameras_own_page_with_its_stream(self):
        page = screenshot(self, f"http://camera-1.localhost:{self.port}/")
        self.assertGreater(contains(page, self.snapshot()), 0.5, "the page does not show the camera's picture")

    def test_ffmpeg_plays_the_address_that_is_printed(self):
        address = re.search(r"^  (rtsp://\S+)", (self.dir / "demo.log").read_text(), re.MULTILINE).group(1)
        assert_every_picture(self, address, "tcp")

    def test_ctrl_c_ends_it_cleanly(self):
        self.demo.send_signal(signal.SIGINT)
        self.assertEqual(self.demo.wait(10), 0)
        self.assertFalse(os.path.exists(f"/proc/{self.demo.pid}"))
