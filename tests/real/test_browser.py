"""Chromium before the front: a WebSocket that the page of the device opens, and MJPEG whose pictures the browser counts.

The device is nginx with a page, a WebSocket service (PyPI `websockets`) and a camera of MJPEG with stamped pictures behind it.
"""

import asyncio
import contextlib
import io
import json
import pathlib
import shutil

import stamp
import websockets.asyncio.server
import websockets.exceptions
from PIL import Image
from support import need, program, wait_for
from test_demo import CHROMIUM
from video import Shared
from websocket_neighbour import Loop

PICTURES, RATE = 30, 15
# Those of a screenshot, but for its end at a time.
FLAGS = [flag for flag in CHROMIUM if not flag.startswith("--timeout")]
WIDTH, HEIGHT = 320, 240
PAGE = pathlib.Path(__file__).with_name("page.html")
class Services(Loop):
    """The WebSocket service (/ws/echo, /ws/report) and the MJPEG camera, each on a port."""

    def __init__(self):
        super().__init__()
        self.report = None
        self.websocket, self.mjpeg = self.call(self.listen())

    async def listen(self):
        service = await websockets.asyncio.server.serve(self.talk, "127.0.0.1", 0, subprotocols=["second"], max_size=None,
                                                        select_subprotocol=lambda _, offered: next(iter(offered), None))
        camera = await asyncio.start_server(self.film, "127.0.0.1", 0)
        return (each.sockets[0].getsockname()[1] for each in (service, camera))

    async def talk(self, connection):
        with contextlib.suppress(websockets.exceptions.ConnectionClosed):
            async for message in connection:
                if connection.request.path == "/ws/report":
                    self.report = json.loads(message)
                elif message == "close":
                    await connection.close(4003, "as asked")
                else:
                    await connection.send(message)

    @staticmethod
    def picture(number):
        lines = stamp.lines(number, stamp.now(), WIDTH)
        scenery = bytes((number * 3 + column) % 256 for column in range(WIDTH)) * HEIGHT
        file = io.BytesIO()
        Image.frombytes("L", (WIDTH, HEIGHT), (lines + scenery)[:WIDTH * HEIGHT]).save(file, "JPEG", quality=80)
        return file.getvalue()

    async def film(self, reader, writer):
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: multipart/x-mixed-replace; boundary=next\r\n\r\n")
            number = 0
            while True:
                jpeg = self.picture(number)
                writer.write(b"--next\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n" % (len(jpeg), jpeg))
                await writer.drain()
                number += 1
                await asyncio.sleep(1 / RATE)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()


class Browsed:
    """One visit of the page; each test looks at a part of what it reported. A class of tests gives `authority(rig)`."""

    @classmethod
    def furnish(cls, rig):
        need("chromium", "nginx")
        rig.services = Services()
        rig.addCleanup(rig.services.close)
        (rig.dir / "www").mkdir()
        shutil.copy(PAGE, rig.dir / "www")
        names = {"WIDTH": WIDTH, "HEIGHT": HEIGHT, "COLUMNS": stamp.COLUMNS, "ROWS": stamp.ROWS, "BLOCK_HEIGHT": stamp.BLOCK_HEIGHT,
                 "COUNT": PICTURES}
        (rig.dir / "www" / "constants.js").write_text("".join(f"const {name} = {value};\n" for name, value in names.items()))
        upgrade = 'proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade";'
        rig.nginx = rig.start_nginx(
            f"location /ws/ {{ proxy_pass http://127.0.0.1:{rig.services.websocket}; {upgrade} }}"
            f"location /mjpeg {{ proxy_pass http://127.0.0.1:{rig.services.mjpeg}; proxy_buffering off; }}")

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        url = f"http://{cls.authority(cls.rig)}/page.html"
        cls.rig.start("chromium", [program("chromium"), *FLAGS, f"--user-data-dir={cls.rig.dir}/chromium", url])
        cls.found = wait_for("the page reports", lambda: cls.rig.services.report, 60)

    def test_its_websocket_echoes_and_closes_as_the_device_says(self):
        echo = self.found["echo"]
        self.assertTrue(echo.pop("extensions", "").startswith("permessage-deflate"), echo)
        self.assertEqual(echo, {"back": [True] * 4, "protocol": "second", "closed": [4003, "as asked", True]})

    def test_it_gets_every_picture_of_the_mjpeg_stream(self):
        self.assertNotIn("error", self.found["mjpeg"])
        stamps = [stamp.read(blocks) for blocks in self.found["mjpeg"]]
        self.assertNotIn(None, stamps, "a picture was damaged")
        self.assertEqual([each.number for each in stamps], list(range(PICTURES)))

    def test_it_shows_the_mjpeg_stream_moving(self):
        self.assertNotIn("error", self.found["shown"])
        numbers = [read.number for blocks in self.found["shown"] if (read := stamp.read(blocks))]
        self.assertEqual(numbers, sorted(numbers))
        # 20 looks, 100 ms apart, at a stream of 15 pictures/s: nearly each look sees another one.
        self.assertGreaterEqual(len(set(numbers)), 10)


class DirectBrowser(Browsed, Shared):
    """Without the product: the cases themselves."""

    @staticmethod
    def authority(rig):
        return f"127.0.0.1:{rig.nginx}"


class UplinkBrowser(Browsed, Shared):
    """The page's links are of the host, so it is opened by the device's own name."""

    @classmethod
    def furnish(cls, rig):
        super().furnish(rig)
        rig.start_both(rig.nginx)

    @staticmethod
    def authority(rig):
        return f"camera-1.localhost:{rig.front}"
