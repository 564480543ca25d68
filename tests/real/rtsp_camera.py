"""An RTSP camera that we did not write: GStreamer's server with H.264 at 25 frames/s, each picture with a stamp (stamp.py).
It carries interleaved TCP and, on the same port, the HTTP tunnel. Runs on Debian's python3, which has GStreamer's bindings.

    rtsp_camera.py PORT [--digest USER:PASSWORD] [--no-tunnel] [--shared] [--kbit N]      prints `ready`; the path is /cam

Without --shared each viewer has a pipeline of its own, whose numbers begin at 0. --no-tunnel: a relay before the server,
which knows RTSP only and answers anything else as a plain RTSP server would, 400 and close.
"""

import argparse
import asyncio
import threading
import time

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

import stamp  # noqa: E402

WIDTH, HEIGHT, RATE = 640, 360, 25
KEY_FRAME_EVERY = 25
PIPELINE = ("( appsrc name=picture is-live=true format=time do-timestamp=true max-buffers=5 block=true "
            "caps=video/x-raw,format=I420,width={width},height={height},framerate={rate}/1 "
            "! x264enc tune=zerolatency sliced-threads=false threads=1 speed-preset=ultrafast key-int-max={key} bitrate={kbit} "
            "! video/x-h264,profile=baseline ! rtph264pay name=pay0 pt=96 config-interval=-1 )")


class Pictures(threading.Thread):
    """Pushes stamped pictures at the frame rate until the pipeline wants no more."""

    def __init__(self, source):
        super().__init__(daemon=True)
        self.source = source
        rest = WIDTH * (HEIGHT - stamp.ROWS * stamp.BLOCK_HEIGHT)
        # Soft stripes that wander: something for the encoder to do.
        ramp = bytes(range(64, 192, 2)) + bytes(range(192, 64, -2))
        self.scenery = ramp * ((rest + 8 * RATE * 8) // len(ramp) + 2)
        self.rest, self.colours = rest, bytes([128]) * (WIDTH * HEIGHT // 2)

    @classmethod
    def begin(cls, source):
        """When the source asks for the first time: what is pushed before it has started is refused, and would be the end."""
        asked = []

        def need_data(*_):
            if not asked:
                asked.append(True)
                cls(source).start()

        source.connect("need-data", need_data)

    def run(self):
        began, number, flow = time.monotonic(), 0, Gst.FlowReturn.OK
        while flow == Gst.FlowReturn.OK:
            time.sleep(max(0.0, began + number / RATE - time.monotonic()))
            at = number % RATE * 8
            picture = stamp.lines(number, stamp.now(), WIDTH) + self.scenery[at:at + self.rest] + self.colours
            flow = self.source.emit("push-buffer", Gst.Buffer.new_wrapped(picture))
            number += 1


def factory(arguments):
    made = GstRtspServer.RTSPMediaFactory()
    made.set_launch(PIPELINE.format(width=WIDTH, height=HEIGHT, rate=RATE, key=KEY_FRAME_EVERY, kbit=arguments.kbit))
    made.set_shared(arguments.shared)
    made.set_latency(0)
    made.connect("media-configure", lambda _, media: Pictures.begin(media.get_element().get_by_name("picture")))
    return made


def protect(server, made, credentials):
    """RTSP Digest (MD5, as cameras have it) for everything."""
    user, password = credentials.split(":", 1)
    auth, token = GstRtspServer.RTSPAuth(), GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "viewer")
    auth.set_supported_methods(2)  # GST_RTSP_AUTH_DIGEST
    auth.add_digest(user, password, token)
    server.set_auth(auth)
    allowed = "viewer, media.factory.access=(boolean)true, media.factory.construct=(boolean)true"
    made.add_role_from_structure(Gst.Structure.from_string(allowed)[0])


class PlainOnly:
    """What a camera without an HTTP tunnel is: RTSP passes, a GET or POST does not."""

    def __init__(self, port, inner):
        self.inner = inner
        threading.Thread(target=lambda: asyncio.run(self.serve(port)), daemon=True).start()

    async def serve(self, port):
        async with await asyncio.start_server(self.relay, "127.0.0.1", port) as server:
            await server.serve_forever()

    async def relay(self, reader, writer):
        try:
            first = await reader.readuntil(b"\n")
            if b" RTSP/1.0" not in first:
                writer.write(b"RTSP/1.0 400 Bad Request\r\n\r\n")
                return
            upstream = await asyncio.open_connection("127.0.0.1", self.inner)
            upstream[1].write(first)
            await asyncio.gather(self.copy(reader, upstream[1]), self.copy(upstream[0], writer))
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            writer.close()

    @staticmethod
    async def copy(reader, writer):
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        finally:
            writer.close()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--digest")
    parser.add_argument("--no-tunnel", action="store_true")
    parser.add_argument("--shared", action="store_true")
    parser.add_argument("--kbit", type=int, default=800)
    arguments = parser.parse_args()
    Gst.init(None)
    server, made = GstRtspServer.RTSPServer(), factory(arguments)
    server.set_address("127.0.0.1")
    server.set_service("0" if arguments.no_tunnel else str(arguments.port))
    if arguments.digest:
        protect(server, made, arguments.digest)
    server.get_mount_points().add_factory("/cam", made)
    if not server.attach(None):
        raise SystemExit(f"port {arguments.port} is taken")
    if arguments.no_tunnel:
        PlainOnly(arguments.port, server.get_bound_port())
    print("ready", flush=True)
    # A viewer that vanished without TEARDOWN goes when its session ends.
    GLib.timeout_add_seconds(5, lambda: server.get_session_pool().cleanup() >= 0)
    GLib.MainLoop().run()


if __name__ == "__main__":
    main()
