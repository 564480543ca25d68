"""A remote for many uplinks at once that notes who dialed when, and goes away and comes back when it is told.

It listens on all of 127.0.0.0/8 with one port: each uplink dials an address of its own, so a dial is known to be that
uplink's even when it is refused. HTTP/2 is as little as keeps a session up: preface, SETTINGS, answers to PING.

    fleet.py CERT KEY CLIENT_CA [ADDRESS [PORT]]      prints its port; then takes words on standard input:
    up, away (accept and reset at once), reset (every session, by RST), report (JSON on one line), quit
"""

import asyncio
import json
import socket
import ssl
import struct
import sys
import time

SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c-reverse\r\n\r\n"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\x04\0\0\0\0\0"
SETTINGS_ACK = b"\0\0\0\x04\x01\0\0\0\0"
SETTINGS, PING, ACK = 4, 6, 1
LISTEN_BACKLOG = 16384
ABORT = struct.pack("ii", 1, 0)  # SO_LINGER of 0 s: close sends RST


class Session(asyncio.Protocol):
    """One uplink, from the end of its TLS handshake."""

    def __init__(self, fleet, who):
        self.fleet, self.who, self.received, self.upgraded = fleet, who, b"", False

    def connection_made(self, transport):
        self.transport = transport
        self.fleet.sessions.add(self)

    def connection_lost(self, _):
        self.fleet.sessions.discard(self)

    def data_received(self, data):
        self.received += data
        if not self.upgraded:
            head, end, rest = self.received.partition(b"\r\n\r\n")
            if not end:
                return
            self.upgraded, self.received = True, rest
            self.transport.write(SWITCH + PREFACE)
            self.fleet.note("online", self.who)
        while len(self.received) >= 9:
            length = int.from_bytes(self.received[:3], "big")
            if len(self.received) < 9 + length:
                return
            kind, flags, payload = self.received[3], self.received[4], self.received[9:9 + length]
            self.received = self.received[9 + length:]
            if kind == SETTINGS and not flags & ACK:
                self.transport.write(SETTINGS_ACK)
            elif kind == PING and not flags & ACK:
                self.transport.write(b"\0\0\x08\x06\x01\0\0\0\0" + payload)


class Fleet:
    """The listener and what it saw: a list of (seconds, what, who)."""

    def __init__(self, context, address="0.0.0.0", port="0"):
        self.context, self.sessions, self.events, self.away = context, set(), [], False
        self.socket = socket.create_server((address, int(port)), backlog=LISTEN_BACKLOG)
        self.socket.setblocking(False)

    def note(self, what, who):
        self.events.append((time.time(), what, who))

    async def accept(self):
        loop = asyncio.get_running_loop()
        while True:
            connection, _ = await loop.sock_accept(self.socket)
            who = connection.getsockname()[0]
            self.note("dial", who)
            if self.away:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
                connection.close()
                continue
            task = loop.create_task(self.welcome(connection, who))
            task.add_done_callback(lambda done: done.exception())

    async def welcome(self, connection, who):
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: Session(self, who), connection, ssl=self.context, ssl_handshake_timeout=60)
        except (OSError, ssl.SSLError):
            self.note("broken", who)

    def reset(self):
        for session in list(self.sessions):
            plain = session.transport.get_extra_info("socket")
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
            session.transport.abort()

    async def obey(self):
        loop = asyncio.get_running_loop()
        while True:
            word = (await loop.run_in_executor(None, sys.stdin.readline)).strip()
            if word == "away":
                self.away = True
                self.reset()
            elif word == "up":
                self.away = False
            elif word == "reset":
                self.reset()
            elif word == "report":
                print(json.dumps({"events": self.events, "sessions": len(self.sessions)}), flush=True)
            elif word in ("quit", ""):
                return
            print("done " + word, flush=True)


async def main():
    cert, key, client_ca, *place = sys.argv[1:]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    context.load_verify_locations(client_ca)
    context.verify_mode = ssl.CERT_REQUIRED
    fleet = Fleet(context, *place)
    print(fleet.socket.getsockname()[1], flush=True)
    accepting = asyncio.create_task(fleet.accept())
    await fleet.obey()
    accepting.cancel()


asyncio.run(main())
