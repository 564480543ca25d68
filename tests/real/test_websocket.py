"""WebSockets through gateway and uplink between PyPI `websockets` at both ends, and RTSP in them with real players.

The same cases run without the product, which proves the cases.
"""

import contextlib
import socket
import time

import players
import websockets.exceptions
import websockets.sync.client
from support import uplink, wait_for
from video import Shared
from websocket_neighbour import RTSP, Adapter, Neighbour, RtspService

LARGE = bytes(range(256)) * 32768  # 8 MiB
PICTURES = 50


class Conversations:
    """What the two ends see of each other. A class of tests gives `base()`."""

    @classmethod
    def furnish(cls, rig):
        rig.neighbour = Neighbour()
        rig.addCleanup(rig.neighbour.close)

    def connect(self, path, **options):
        options = {"max_size": None, "proxy": None, "ping_interval": None, "close_timeout": 10, **options}
        return websockets.sync.client.connect(self.base() + path, **options)

    def ended(self, path):
        """The close code that the neighbour saw at the end of the connection to this path."""
        return wait_for("the neighbour sees the end", lambda: [code for at, code in self.rig.neighbour.ended if at == path])[-1]

    def test_messages_come_back(self):
        with self.connect("/echo") as connection:
            for message in ("text: \u00fc\u4e16", b"\0binary\xff", "", b"x" * 70_000):
                connection.send(message)
                self.assertEqual(connection.recv(10), message)

    def test_a_fragmented_message_comes_back(self):
        with self.connect("/echo") as connection:
            connection.send(["one ", "two ", "three"])
            self.assertEqual(connection.recv(10), "one two three")

    def test_large_messages_arrive_whole(self):
        with self.connect("/echo", compression=None) as connection:
            connection.send(LARGE)
            self.assertEqual(connection.recv(30), LARGE)

    def test_the_subprotocol_is_agreed_by_the_ends(self):
        with self.connect("/echo", subprotocols=["third", "second"]) as connection:
            self.assertEqual(connection.subprotocol, "second")
        with self.connect("/echo") as connection:
            self.assertIsNone(connection.subprotocol)

    def test_compression_is_agreed_by_the_ends(self):
        with self.connect("/echo") as connection:
            self.assertEqual([each.name for each in connection.protocol.extensions], ["permessage-deflate"])
            connection.send("a" * 100_000)
            self.assertEqual(connection.recv(10), "a" * 100_000)
        with self.connect("/echo", compression=None) as connection:
            self.assertEqual(connection.protocol.extensions, [])

    def test_the_neighbours_close_code_arrives(self):
        with self.connect("/close/4001") as connection:
            connection.send("now")
            with self.assertRaises(websockets.exceptions.ConnectionClosed) as closed:
                connection.recv(10)
        self.assertEqual((closed.exception.rcvd.code, closed.exception.rcvd.reason), (4001, "as asked"))

    def test_the_clients_close_code_arrives(self):
        path = f"/echo?{time.monotonic_ns()}"
        with self.connect(path) as connection:
            connection.close(4002, "enough")
        self.assertEqual(self.ended(path), 4002)

    def test_pings_are_answered_both_ways(self):
        with self.connect("/ping") as connection:
            self.assertEqual(connection.recv(10), "pong")
            self.assertTrue(connection.ping(b"there").wait(10))

    def test_a_refusal_arrives_as_it_is(self):
        with self.assertRaises(websockets.exceptions.InvalidStatus) as refused:
            self.connect("/refused")
        self.assertEqual((refused.exception.response.status_code, refused.exception.response.body), (403, b"not for you\n"))

    def test_a_client_that_vanishes_is_noticed_by_the_neighbour(self):
        path = f"/echo?{time.monotonic_ns()}"
        connection = self.connect(path)
        connection.send("here")
        self.assertEqual(connection.recv(10), "here")
        connection.socket.close()
        self.assertIn(self.ended(path), (1005, 1006), "an end without a close frame")

    def test_a_reader_that_stalls_stops_nobody_else(self):
        with contextlib.ExitStack() as stack:
            stalled = [stack.enter_context(self.connect("/push", compression=None, close_timeout=0.1)) for _ in range(3)]
            for connection in stalled:
                connection.recv(10)
            with self.connect("/echo") as lively:
                slowest = 0.0
                for number in range(100):
                    began = time.monotonic()
                    lively.send(str(number))
                    self.assertEqual(lively.recv(10), str(number))
                    slowest = max(slowest, time.monotonic() - began)
            self.assertLess(slowest, 1)

    def test_fifty_at_once_keep_to_themselves(self):
        with contextlib.ExitStack() as stack:
            all_of_them = [stack.enter_context(self.connect("/echo")) for _ in range(50)]
            for number, connection in enumerate(all_of_them):
                connection.send(str(number))
            for number, connection in enumerate(all_of_them):
                self.assertEqual(connection.recv(10), str(number))


class DirectWebSocket(Conversations, Shared):
    """Without the product: the cases themselves."""

    def base(self):
        return f"ws://127.0.0.1:{self.rig.neighbour.port}"


class UplinkWebSocket(Conversations, Shared):
    @classmethod
    def furnish(cls, rig):
        super().furnish(rig)
        rig.start_both(rig.neighbour.port)

    def base(self):
        return f"ws://127.0.0.1:{self.rig.front}/camera-1"

    def test_nothing_stays_open(self):
        with self.connect("/echo") as connection:
            connection.send("here")
            self.assertEqual(connection.recv(10), "here")
            self.assertGreaterEqual(uplink(self.rig.admin, "camera-1")["session"]["streamsOpen"], 1)
        wait_for("no stream is open", lambda: uplink(self.rig.admin, "camera-1")["session"]["streamsOpen"] == 0)

    def test_the_host_form_serves_too(self):
        url = f"ws://camera-1.localhost:{self.rig.front}/echo"
        # Names below localhost are loopback to browsers, but not to every resolver.
        connected = socket.create_connection(("127.0.0.1", self.rig.front), timeout=10)
        with websockets.sync.client.connect(url, proxy=None, sock=connected) as connection:
            connection.send("by host")
            self.assertEqual(connection.recv(10), "by host")


class RtspInWebSocket:
    """Players whose RTSP an adapter puts into a WebSocket. A class of tests gives `url()` of the WebSocket."""

    def plays(self, player):
        adapter = Adapter(self.url())
        self.addCleanup(adapter.close)
        with player(self.log("player"), f"rtsp://127.0.0.1:{adapter.port}/cam") as playing:
            pictures = playing.pictures(PICTURES)
        self.assertEqual(adapter.subprotocols, [RTSP])
        self.assert_whole(pictures, PICTURES)

    def test_ffmpeg_plays(self):
        self.plays(lambda log, url: players.ffmpeg(log, url, "tcp"))

    def test_gstreamer_plays(self):
        self.plays(players.gstreamer)

    def test_live555_plays(self):
        self.plays(players.live555)


class DirectRtspInWebSocket(RtspInWebSocket, Shared):
    """Without the product: the cases themselves."""

    @classmethod
    def furnish(cls, rig):
        rig.service = RtspService(rig.start_camera())
        rig.addCleanup(rig.service.close)

    def url(self):
        return f"ws://127.0.0.1:{self.rig.service.port}/rtsp"


class OwnServiceRtspInWebSocket(RtspInWebSocket, Shared):
    """A device with a WebSocket service of its own: the sidecar carries what is in it and does not look."""

    @classmethod
    def furnish(cls, rig):
        DirectRtspInWebSocket.furnish.__func__(cls, rig)
        rig.start_both(rig.service.port)

    def url(self):
        return f"ws://127.0.0.1:{self.rig.front}/camera-1/rtsp"

    def plays(self, player):
        before = self.rig.service.conversations
        super().plays(player)
        self.assertEqual(self.rig.service.conversations, before + 1)


class BridgedRtspInWebSocket(RtspInWebSocket, Shared):
    """A device with plain RTSP only: the sidecar is the WebSocket's end."""

    @classmethod
    def furnish(cls, rig):
        rig.start_both(rig.start_neighbour(), f"rtsp: rtsp://127.0.0.1:{rig.start_camera('--no-tunnel')}")

    def url(self):
        return f"ws://127.0.0.1:{self.rig.front}/camera-1/rtsp"
