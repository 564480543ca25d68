"""Many cheap RTSP cameras in one process: each replays one pre-encoded H.264 clip at its frame rate, interleaved in TCP or
through the HTTP tunnel, on one port for both. Every frame tells when it was due, so that a viewer knows how late it is.

    cameras.py CLIP RATE COUNT [ADDRESS [PORT]]      CLIP: an H.264 byte stream with access unit delimiters
    prints its first port (the others follow it if PORT is given, else all stand on the line), then takes words on standard
    input: report (JSON: frames sent, frames dropped because a viewer did not read), quit

A viewer's stream begins with the clip's first key frame at once, as most cameras do. A viewer that does not read loses whole
frames, as with most cameras.
"""

import asyncio
import base64
import json
import pathlib
import struct
import sys
import time

PAYLOAD = 1400  # bytes of an RTP payload; what fits an Ethernet packet
TYPE, SSRC, CLOCK = 96, 0x0BADCAFE, 90_000
# Most that waits for a viewer: some frames of 8 Mbit/s.
BACKLOG = 256 << 10
SEI, AUD, SPS, PPS = 6, 9, 7, 8
MARK = b"uplink-benchmark"  # the UUID of the stamp's SEI
STAMP = len(b"0123456789abcdef") + len(b"01234567")  # microseconds and number, hexadecimal: no emulation prevention needed
HEADS = 4 + 12  # interleaved frame and RTP


def units(stream):
    """The clip as a list of access units, each a list of NAL units without start codes."""
    nals = [nal.rstrip(b"\0") for nal in stream.split(b"\0\0\1")[1:]]
    access_units = []
    for nal in nals:
        if nal[0] & 0x1F == AUD:
            access_units.append([])
        else:
            access_units[-1].append(nal)
    return access_units


class Frame:
    """An access unit as interleaved RTP packets in one buffer, with the places that differ from sending to sending."""

    def __init__(self, nals):
        nals = [nal for nal in nals if nal[0] & 0x1F != SEI]
        sets = [nal for nal in nals if nal[0] & 0x1F in (SPS, PPS)]
        stamp = bytes([SEI, 5, len(MARK) + STAMP]) + MARK + b"0" * STAMP + b"\x80"
        self.data, self.heads = bytearray(), []
        for nal in [*sets, stamp, *(nal for nal in nals if nal not in sets)]:
            if nal is stamp:
                self.stamp = len(self.data) + HEADS + 3 + len(MARK)
            self.add(nal)
        self.data[self.heads[-1] + 5] |= 0x80  # the marker: the frame's last packet

    def add(self, nal):
        if len(nal) <= PAYLOAD:
            return self.packet(nal)
        body = nal[1:]
        for at in range(0, len(body), PAYLOAD):
            start, end = at == 0, at + PAYLOAD >= len(body)
            head = bytes([nal[0] & 0xE0 | 28, start << 7 | end << 6 | nal[0] & 0x1F])
            self.packet(head + body[at:at + PAYLOAD])

    def packet(self, payload):
        self.heads.append(len(self.data))
        self.data += struct.pack(">cBHBBHII", b"$", 0, 12 + len(payload), 0x80, TYPE, 0, 0, SSRC) + payload

    def prepare(self, sequence, timestamp, due, number):
        """The buffer for one sending; returns the next sequence number."""
        for head in self.heads:
            struct.pack_into(">HI", self.data, head + 6, sequence & 0xFFFF, timestamp & 0xFFFFFFFF)
            sequence += 1
        self.data[self.stamp:self.stamp + STAMP] = b"%016x%08x" % (int(due * 1e6), number)
        return sequence


class Clip:
    def __init__(self, file, rate):
        access_units = units(pathlib.Path(file).read_bytes())
        self.frames, self.rate = [Frame(nals) for nals in access_units], rate
        sets = [nal for nal in access_units[0] if nal[0] & 0x1F in (SPS, PPS)]
        self.sdp = ("v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=clip\r\nt=0 0\r\na=control:*\r\nm=video 0 RTP/AVP 96\r\n"
                    "c=IN IP4 0.0.0.0\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1;sprop-parameter-sets="
                    + ",".join(base64.b64encode(nal).decode() for nal in sets) + "\r\na=control:track1\r\n")


class Statistics:
    sent = dropped = 0


class Connection(asyncio.Protocol):
    """A connection of a viewer: RTSP, or one half of an HTTP tunnel."""

    tunnels = {}

    def __init__(self, clip):
        self.clip, self.received, self.encoded, self.output = clip, bytearray(), None, None
        self.timer, self.number, self.sequence = None, 0, 0

    def connection_made(self, transport):
        self.transport = self.output = transport
        transport.set_write_buffer_limits(BACKLOG)

    def connection_lost(self, _):
        if self.timer:
            self.timer.cancel()
        other = self.tunnels.pop(getattr(self, "cookie", None), None)
        if other and other.transport is not self.transport:
            other.transport.close()

    def data_received(self, data):
        if self.encoded is not None:
            self.encoded += data
            whole = len(self.encoded) // 4 * 4
            data = base64.b64decode(self.encoded[:whole])
            del self.encoded[:whole]
        self.received += data
        while self.received:
            if self.received[0] == 0x24:  # the viewer's RTCP
                length = 4 + int.from_bytes(self.received[2:4], "big")
                if len(self.received) < max(4, length):
                    return
                del self.received[:length]
                continue
            end = self.received.find(b"\r\n\r\n")
            if end < 0:
                return
            lines = self.received[:end].decode("latin-1").split("\r\n")
            del self.received[:end + 4]
            fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
            method, target, version = lines[0].split(" ", 2)
            if version.startswith("HTTP"):
                self.tunnel(method, fields.get("x-sessioncookie"))
            else:
                self.answer(method, target, fields)

    def tunnel(self, method, cookie):
        if cookie is None:
            self.output.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        elif method == "GET":
            self.cookie, self.tunnels[cookie] = cookie, self
            self.output.write(b"HTTP/1.0 200 OK\r\nContent-Type: application/x-rtsp-tunnelled\r\nCache-Control: no-cache\r\n\r\n")
        elif cookie in self.tunnels:
            self.output, self.encoded = self.tunnels[cookie].transport, bytearray()
            rest, self.received = bytes(self.received), bytearray()
            self.data_received(rest)
        else:
            self.transport.close()

    def answer(self, method, target, fields):
        head, body = f"RTSP/1.0 200 OK\r\nCSeq: {fields.get('cseq', '0')}\r\nSession: 12345678;timeout=60\r\n", ""
        if method == "OPTIONS":
            head += "Public: OPTIONS, DESCRIBE, SETUP, PLAY, GET_PARAMETER, TEARDOWN\r\n"
        elif method == "DESCRIBE":
            body = self.clip.sdp
            head += f"Content-Base: {target}/\r\nContent-Type: application/sdp\r\nContent-Length: {len(body)}\r\n"
        elif method == "SETUP":
            head += f"Transport: RTP/AVP/TCP;unicast;interleaved=0-1;ssrc={SSRC:08X}\r\n"
        self.output.write(f"{head}\r\n{body}".encode())
        if method == "PLAY":
            self.began = time.monotonic()
            self.send()
        elif method == "TEARDOWN":
            self.transport.close()

    def send(self):
        """The frame that is due; then the timer of the next."""
        if self.output.is_closing():
            return
        due = self.began + self.number / self.clip.rate
        frame = self.clip.frames[self.number % len(self.clip.frames)]
        if self.output.get_write_buffer_size() < BACKLOG:
            self.sequence = frame.prepare(self.sequence, self.number * CLOCK // self.clip.rate, due, self.number)
            self.output.write(frame.data)
            Statistics.sent += 1
        else:
            Statistics.dropped += 1
        self.number += 1
        self.timer = asyncio.get_running_loop().call_at(self.began + self.number / self.clip.rate, self.send)


async def main():
    file, rate, count, *place = sys.argv[1:]
    address, port = place[0] if place else "127.0.0.1", int(place[1]) if len(place) > 1 else 0
    clip, loop = Clip(file, int(rate)), asyncio.get_running_loop()
    servers = [await loop.create_server(lambda: Connection(clip), address, port and port + index) for index in range(int(count))]
    print(*(server.sockets[0].getsockname()[1] for server in servers), flush=True)
    while (word := (await loop.run_in_executor(None, sys.stdin.readline)).strip()) not in ("quit", ""):
        if word == "report":
            print(json.dumps({"sent": Statistics.sent, "dropped": Statistics.dropped}), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
