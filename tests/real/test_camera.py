"""The emulator's RTSP server and players that we did not write: ffmpeg and GStreamer, as it is, wrapped in HTTP, with Digest.

The number of each picture stands in it as a bar code; ffmpeg hands over one luminance for each cell, so that a picture that
was lost or came twice shows; of packets that are missing it warns.
"""

import subprocess

from support import BINARY, Case, free_port, listens, need, stop, wait_for

# The bar code (src/demo/camera/barcode.rs): 80 cells of 8 by 16 pixels a row; the first row is the number and its checksum.
CELLS, TOP, HEIGHT = 80, 320, 16
CROP = f"crop=640:{HEIGHT}:0:{TOP},scale={CELLS}:1:flags=area,format=gray"
PICTURES = 50


def checksum(data):
    """CRC-16/CCITT with start 0xFFFF."""
    crc = 0xFFFF
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x1021 if crc & 0x8000 else crc << 1) & 0xFFFF
    return crc


def number(luminances):
    """The number of a picture; fails if its bar code is damaged."""
    word = int("".join("1" if luminance > 127 else "0" for luminance in luminances), 2)
    data = (word >> 16).to_bytes(8, "big")
    if checksum(data) != word & 0xFFFF:
        raise AssertionError("the bar code is damaged")
    return word >> 16


def ffmpeg(url, transport):
    """What ffmpeg says and, on standard output, the cells of the pictures that it decoded."""
    need("ffmpeg")
    return subprocess.run(["ffmpeg", "-nostdin", "-loglevel", "warning", "-rtsp_transport", transport, "-i", url,
                           "-frames:v", str(PICTURES), "-fps_mode", "passthrough", "-vf", CROP, "-f", "rawvideo", "pipe:1"],
                          capture_output=True, timeout=60)


def assert_every_picture(case, url, transport):
    """ffmpeg plays without an error or a gap in the packets, and no picture comes twice or out of order. A camera on a busy
    machine leaves out pictures rather than send them late: a few may be missing, which were never drawn."""
    run = ffmpeg(url, transport)
    # swscaler warns of every full-range picture, whatever is asked of it.
    said = [line for line in run.stderr.decode().splitlines() if not line.startswith("[swscaler")]
    case.assertEqual((run.returncode, said), (0, []))
    assert_numbers(case, run.stdout)


def assert_numbers(case, cells):
    """Checks the numbers of the pictures whose cells these are."""
    numbers = [number(cells[at:at + CELLS]) for at in range(0, len(cells), CELLS)]
    case.assertEqual(len(numbers), PICTURES)
    case.assertEqual(numbers, sorted(set(numbers)))
    case.assertLess(numbers[-1] - numbers[0], PICTURES * 6 // 5)


class Camera(Case):
    def start_camera(self, *flags):
        """The emulator; returns the port of its RTSP server."""
        http, rtsp = free_port(), free_port()
        self.start("camera", [BINARY, "camera", "--http", f"127.0.0.1:{http}", "--rtsp", f"127.0.0.1:{rtsp}", *flags])
        wait_for("the camera listens", lambda: listens(rtsp))
        return rtsp

    def guarded(self, *flags):
        (self.dir / "account").write_text("admin:pw\n")
        return self.start_camera("--rtsp-credentials-file", self.dir / "account", *flags)

    def refused(self, url, transport, words):
        run = ffmpeg(url, transport)
        self.assertNotEqual(run.returncode, 0)
        self.assertIn(words, run.stderr.decode())

    def gstreamer_plays(self, url, *properties):
        need("gst-launch-1.0")
        # It is ended once it has shown what is asked for: where it ends by itself its PAUSE and its close cross now and then, and
        # it takes that for a broken connection.
        player = subprocess.Popen(["timeout", "60", "gst-launch-1.0", "-q", "rtspsrc", f"location={url}", "latency=0", *properties, "!",
                                   "rtpjpegdepay", "!", "jpegdec", "!", "videocrop", f"top={TOP}",
                                   f"bottom={360 - TOP - HEIGHT}", "!", "videoscale", "method=nearest-neighbour", "!",
                                   "videoconvert", "!", f"video/x-raw,format=GRAY8,width={CELLS},height=1", "!",
                                   "fdsink", "fd=1", "sync=false"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.addCleanup(stop, player)
        with player.stdout as output:
            assert_numbers(self, output.read(PICTURES * CELLS))

    def test_ffprobe_reads_what_the_description_says(self):
        need("ffprobe")
        port = self.start_camera()
        fields = subprocess.run(["ffprobe", "-v", "error", "-rtsp_transport", "tcp", "-show_entries",
                                 "stream=codec_name,width,height,r_frame_rate", "-of", "csv=p=0",
                                 f"rtsp://127.0.0.1:{port}/stream"], capture_output=True, timeout=60, check=True).stdout
        self.assertEqual(fields.decode().strip(), "mjpeg,640,360,25/1")

    def test_ffmpeg_decodes_every_picture_interleaved(self):
        assert_every_picture(self, f"rtsp://127.0.0.1:{self.start_camera()}/stream", "tcp")

    def test_ffmpeg_decodes_every_picture_wrapped_in_http(self):
        assert_every_picture(self, f"rtsp://127.0.0.1:{self.start_camera('--rtsp-tunnel')}/stream", "http")

    def test_ffmpeg_knows_the_password_or_is_refused(self):
        port = self.guarded("--rtsp-tunnel")
        assert_every_picture(self, f"rtsp://admin:pw@127.0.0.1:{port}/stream", "tcp")
        assert_every_picture(self, f"rtsp://admin:pw@127.0.0.1:{port}/stream", "http")
        self.refused(f"rtsp://admin:other@127.0.0.1:{port}/stream", "tcp", "401")
        self.refused(f"rtsp://127.0.0.1:{port}/stream", "tcp", "401")

    def test_ffmpeg_is_refused_udp_another_path_and_a_tunnel_that_is_not_there(self):
        port = self.start_camera()
        self.refused(f"rtsp://127.0.0.1:{port}/stream", "udp", "461")
        self.refused(f"rtsp://127.0.0.1:{port}/other", "tcp", "404")
        # The camera answers 404; ffmpeg does not tell what it was.
        self.refused(f"rtsp://127.0.0.1:{port}/stream", "http", "Input/output error")

    def test_gstreamer_decodes_interleaved_and_wrapped(self):
        port = self.start_camera("--rtsp-tunnel")
        self.gstreamer_plays(f"rtspt://127.0.0.1:{port}/stream")
        self.gstreamer_plays(f"rtsph://127.0.0.1:{port}/stream")

    def test_gstreamer_knows_the_password(self):
        port = self.guarded("--rtsp-tunnel")
        self.gstreamer_plays(f"rtspt://127.0.0.1:{port}/stream", "user-id=admin", "user-pw=pw")
        self.gstreamer_plays(f"rtsph://127.0.0.1:{port}/stream", "user-id=admin", "user-pw=pw")
