"""Camera-like services that we did not write behind sidecar and gateway: motion (MJPEG) and nginx (large files)."""

import hashlib
import io
import json
import subprocess
import time

from PIL import Image
from support import Case, OPENER, Pki, document, free_port, get, listens, need, program, wait_for

CLIP_SECONDS = 10
LARGE_BYTES = 256 << 20


def mjpeg_frames(stream, count):
    """The next `count` JPEG pictures of a multipart stream, found by their markers."""
    data, frames = b"", []
    while len(frames) < count:
        more = stream.read1(65536)
        if not more:
            raise AssertionError(f"the stream ended after {len(frames)} pictures")
        data += more
        while (begin := data.find(b"\xff\xd8")) >= 0 and (end := data.find(b"\xff\xd9", begin)) >= 0:
            frames.append(data[begin:end + 2])
            data = data[end + 2:]
    return frames[:count]


class Neighbours(Case):
    def reach(self, port):
        """Gateway and sidecar for a neighbour on `port`; returns the base of its URLs on the front."""
        pki = Pki(self.dir / "pki")
        pki.client("camera-1")
        listen, front = self.start_gateway(pki)
        config = self.dir / "uplinks.yaml"
        config.write_text(document(pki, [("camera-1", port, "Administrator")], f"https://localhost:{listen}/uplink"))
        self.start_sidecar(config)
        json_only = {"Accept": "application/json"}
        wait_for("the gateway lists camera-1",
                 lambda: b"camera-1" in get(f"http://127.0.0.1:{front}/devices", json_only))
        json.loads(get(f"http://127.0.0.1:{front}/devices", json_only))
        return f"http://127.0.0.1:{front}/camera-1"

    def test_motions_stream_and_snapshot_arrive_as_pictures(self):
        need("motion", "ffmpeg")
        port = free_port()
        clip = self.dir / "clip.mp4"
        subprocess.run(["ffmpeg", "-loglevel", "error", "-f", "lavfi", "-i", "testsrc=size=320x240:rate=10",
                        "-t", str(CLIP_SECONDS), "-c:v", "mpeg4", clip], check=True, stdin=subprocess.DEVNULL)
        conf = self.dir / "motion.conf"
        conf.write_text(f"daemon off\nsetup_mode off\nnetcam_url file://{clip}\nwidth 320\nheight 240\nframerate 10\n"
                        f"stream_port {port}\nstream_localhost on\nstream_maxrate 10\nwebcontrol_port 0\n"
                        "movie_output off\npicture_output off\n")
        self.start("motion", [program("motion"), "-n", "-c", conf], cwd=self.dir)
        wait_for("motion listens", lambda: listens(port))
        base = self.reach(port)
        wait_for("motion has a picture", lambda: get(f"{base}/current")[:2] == b"\xff\xd8")
        self.assertEqual(Image.open(io.BytesIO(get(f"{base}/current"))).size, (320, 240))
        begun = time.monotonic()
        with OPENER.open(f"{base}/", timeout=15) as stream:
            self.assertTrue(stream.headers["Content-Type"].startswith("multipart/x-mixed-replace"))
            frames = mjpeg_frames(stream, 5)
        self.assertLess(time.monotonic() - begun, 10, "five pictures of a live stream must not wait in a buffer")
        for frame in frames:
            self.assertEqual(Image.open(io.BytesIO(frame)).convert("RGB").size, (320, 240))

    def test_nginx_large_file_range_and_head(self):
        www = self.dir / "www"
        www.mkdir()
        block = hashlib.sha512(b"seed").digest() * 16384
        with (www / "large.bin").open("wb") as file:
            for number in range(LARGE_BYTES // len(block)):
                file.write(number.to_bytes(8, "big") + block[8:])
        base = self.reach(self.start_nginx(""))
        need("curl")
        copy = self.dir / "copy.bin"
        subprocess.run(["curl", "-fsS", "--noproxy", "*", "-m", "120", "-o", copy, f"{base}/large.bin"], check=True)
        with copy.open("rb") as ours, (www / "large.bin").open("rb") as theirs:
            self.assertEqual(hashlib.file_digest(ours, "sha256").digest(), hashlib.file_digest(theirs, "sha256").digest())
        head = subprocess.run(["curl", "-fsSI", "--noproxy", "*", "-m", "20", f"{base}/large.bin"], check=True,
                              capture_output=True).stdout.decode().lower()
        self.assertIn(f"content-length: {LARGE_BYTES}", head)
        part = subprocess.run(["curl", "-sS", "--noproxy", "*", "-m", "20", "-r", "100-199", "-w", "%{http_code}",
                               f"{base}/large.bin"], check=True, capture_output=True).stdout
        with (www / "large.bin").open("rb") as file:
            self.assertEqual(part, file.read(200)[100:] + b"206")
        missing = subprocess.run(["curl", "-sS", "--noproxy", "*", "-m", "20", "-o", "/dev/null", "-w", "%{http_code}",
                                  f"{base}/none"], check=True, capture_output=True).stdout
        self.assertEqual(missing, b"404")
