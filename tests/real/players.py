"""Players that we did not write, made to hand over what they decoded: ffmpeg, GStreamer, and live555 (VLC's RTSP library).

Each plays a URL of the stamped camera (rtsp_camera.py) and gives the stamp of each picture with the time it was read.
"""

import collections
import os
import select
import subprocess
import time

import stamp
from support import TARGET, need

LIVE555 = str(TARGET.resolve() / "live555" / "player")
BYTES = stamp.COLUMNS * stamp.ROWS  # of one picture as it is handed over
WIDTH, HEIGHT = 640, 360  # of the camera

Picture = collections.namedtuple("Picture", "stamp age")  # age: ms from its making to its reading, or nothing

# One thread: more of them decode frames side by side and hand each over later.
FFMPEG = ["ffmpeg", "-nostdin", "-loglevel", "warning", "-threads", "1"]
FFMPEG_OUT = ["-an", "-fps_mode", "passthrough", "-vf", stamp.crop(WIDTH), "-f", "rawvideo", "pipe:1"]
GSTREAMER_OUT = ["!", "rtph264depay", "!", "h264parse", "!", "avdec_h264", "max-threads=1", "!", "videocrop",
                 f"bottom={HEIGHT - stamp.ROWS * stamp.BLOCK_HEIGHT}", "!", "videoscale", "method=nearest-neighbour", "!",
                 "videoconvert", "!", f"video/x-raw,format=GRAY8,width={stamp.COLUMNS},height={stamp.ROWS}", "!",
                 "fdsink", "fd=1", "sync=false"]


class Player:
    """A running player; a context manager that ends it."""

    def __init__(self, log, *commands):
        self.log, self.name = open(log, "ab"), commands[0][0]
        self.processes, source = [], subprocess.DEVNULL
        for command in commands:
            process = subprocess.Popen([str(word) for word in command], stdin=source, stdout=subprocess.PIPE, stderr=self.log)
            if self.processes:
                source.close()  # the next process holds it
            self.processes.append(process)
            source = process.stdout
        self.output = source

    def pictures(self, count, seconds=20):
        """The next pictures: `count` of them, or fewer if the player ended or `seconds` went by."""
        deadline, pictures, data = time.monotonic() + seconds, [], b""
        descriptor = self.output.fileno()
        while len(pictures) < count:
            if not select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))[0]:
                break
            more = os.read(descriptor, BYTES - len(data))
            if not more:
                break
            data += more
            if len(data) == BYTES:
                read = stamp.read(data)
                pictures.append(Picture(read, read and stamp.age(read, stamp.now())))
                data = b""
        return pictures

    def ended(self, seconds=10):
        """Waits until the player ended by itself; fails otherwise."""
        return self.processes[-1].wait(seconds)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.output.close()
        self.log.close()


def ffmpeg(log, url, transport):
    """`transport`: tcp or http. The short analysis keeps what it read; it only starts to show pictures earlier."""
    need("ffmpeg")
    return Player(log, [*FFMPEG, "-analyzeduration", "100000", "-rtsp_transport", transport, "-i", url, *FFMPEG_OUT])


def gstreamer(log, url):
    """`rtsp://`: interleaved, never UDP; `rtsph://`: through the HTTP tunnel."""
    need("gst-launch-1.0")
    source = ["rtspsrc", f"location={url}", "latency=0", *(["protocols=tcp"] if url.startswith("rtsp:") else [])]
    return Player(log, ["gst-launch-1.0", "-q", *source, *GSTREAMER_OUT])


def live555(log, url, tunnel=None):
    """`tunnel`: the port of an RTSP-over-HTTP tunnel. Decoded by ffmpeg, which adds its delay."""
    need("ffmpeg", LIVE555)
    return Player(log, [LIVE555, url, *([tunnel] if tunnel else [])],
                  [*FFMPEG, "-probesize", "50000", "-f", "h264", "-i", "pipe:0", *FFMPEG_OUT])
