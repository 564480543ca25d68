"""A neighbour with WebSockets by PyPI `websockets`, and the adapters that carry RTSP in them (ONVIF Streaming Specification,
RTSP over WebSocket): one is a device's own service before a plain RTSP server, the other lets any RTSP player speak it."""

import asyncio
import contextlib
import http
import threading

import websockets.asyncio.client
import websockets.asyncio.server
import websockets.exceptions

RTSP = "rtsp.onvif.org"
PUSHED = bytes(65536)


class Loop(threading.Thread):
    """An event loop of its own, ended with the test."""

    def __init__(self):
        super().__init__(daemon=True)
        self.loop = asyncio.new_event_loop()
        self.start()

    def run(self):
        self.loop.run_forever()

    def call(self, coroutine, seconds=20):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(seconds)

    def close(self):
        async def cancel_all():
            tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        self.call(cancel_all())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.join(10)
        self.loop.close()


class Neighbour(Loop):
    """/echo sends back; /close/CODE closes on the first message; /ping pings and says `pong`; /push sends without end;
    /refused is 403. Notes how each connection ended."""

    def __init__(self):
        super().__init__()
        self.ended = []  # (path, close code or nothing)
        self.port = self.call(self.listen())

    async def listen(self):
        server = await websockets.asyncio.server.serve(self.serve, "127.0.0.1", 0, select_subprotocol=self.choose,
                                                       max_size=None, process_request=self.refuse, ping_interval=None)
        return server.sockets[0].getsockname()[1]

    @staticmethod
    def choose(_, offered):
        return next((one for one in offered if one in ("first", "second")), None)

    @staticmethod
    def refuse(connection, request):
        if request.path == "/refused":
            return connection.respond(http.HTTPStatus.FORBIDDEN, "not for you\n")
        return None

    async def serve(self, connection):
        path = connection.request.path
        try:
            if path == "/ping":
                await asyncio.wait_for(await connection.ping(b"between"), 10)
                await connection.send("pong")
            while path == "/push":
                await connection.send(PUSHED)
            async for message in connection:
                if path.startswith("/close/"):
                    await connection.close(int(path.rsplit("/", 1)[1]), "as asked")
                await connection.send(message)
        except websockets.exceptions.ConnectionClosed:
            pass
        finally:
            await connection.wait_closed()
            self.ended.append((path, connection.close_code))


async def join(connection, reader, writer):
    """Carries bytes between a WebSocket and a TCP connection until one of them ends."""

    async def up():
        while data := await reader.read(65536):
            await connection.send(data)

    async def down():
        async for message in connection:
            writer.write(message)
            await writer.drain()

    both = [asyncio.create_task(up()), asyncio.create_task(down())]
    # Cancelled: the test is over.
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    for task in both:
        task.cancel()
    await asyncio.gather(*both, return_exceptions=True)
    writer.close()
    await connection.close()


class RtspService(Loop):
    """The WebSocket service of a device, at /rtsp, before its RTSP port."""

    def __init__(self, rtsp):
        super().__init__()
        self.rtsp, self.conversations = rtsp, 0
        self.port = self.call(self.listen())

    async def listen(self):
        server = await websockets.asyncio.server.serve(self.serve, "127.0.0.1", 0, subprotocols=[RTSP], max_size=None)
        return server.sockets[0].getsockname()[1]

    async def serve(self, connection):
        if connection.subprotocol != RTSP or connection.request.path != "/rtsp":
            return
        self.conversations += 1
        await join(connection, *await asyncio.open_connection("127.0.0.1", self.rtsp))


class Adapter(Loop):
    """A local RTSP port: whatever a player says there goes through a WebSocket to `url`."""

    def __init__(self, url):
        super().__init__()
        self.url, self.subprotocols = url, []
        self.port = self.call(self.listen())

    async def listen(self):
        server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        return server.sockets[0].getsockname()[1]

    async def serve(self, reader, writer):
        try:
            connection = await websockets.asyncio.client.connect(self.url, subprotocols=[RTSP], compression=None, max_size=None,
                                                                 proxy=None)
        except (OSError, websockets.exceptions.WebSocketException) as error:
            self.subprotocols.append(error)
            writer.close()
            return
        self.subprotocols.append(connection.subprotocol)
        await join(connection, reader, writer)
