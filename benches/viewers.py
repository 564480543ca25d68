"""Viewers for the cameras of cameras.py: cheap, so that they measure the path and not themselves. And the request beside them.

    viewers.py watch SECONDS STALLED URL…     each URL is watched; the first STALLED of them stop reading after their first frame
    viewers.py first RUNS URL                 the time to the first frame, one viewer after the other
    viewers.py ask SECONDS HOST PORT PATH     a request of a PTZ command's size every 10 ms at most, one at a time

One line of JSON at the end. Ages are ms from the time a frame was due at the camera to the arrival of its last byte.
"""

import asyncio
import http.client
import json
import sys
import time
import urllib.parse

from cameras import HEADS, MARK, SEI

PLAYED_WITHIN = 30  # s until the first frame
# What a VMS sends to move a camera; the figures do not depend on what is in it.
SOAP = (b'<?xml version="1.0" encoding="UTF-8"?><s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"><s:Body>'
        b'<ContinuousMove xmlns="http://www.onvif.org/ver20/ptz/wsdl"><ProfileToken>Profile_1</ProfileToken><Velocity>'
        b'<PanTilt xmlns="http://www.onvif.org/ver10/schema" x="0.5" y="0.0"/></Velocity></ContinuousMove></s:Body></s:Envelope>')


class Viewer(asyncio.Protocol):
    """OPTIONS, DESCRIBE, SETUP, PLAY, then frames."""

    def __init__(self, url, stalls=False):
        self.url, self.stalls, self.received, self.step = url, stalls, bytearray(), 0
        self.ages, self.lost, self.expected, self.due, self.first = [], 0, None, None, None
        self.played, self.ended, self.control = asyncio.Event(), None, url

    def connection_made(self, transport):
        self.transport = transport
        self.ask("OPTIONS", self.url)

    def connection_lost(self, error):
        self.ended = f"the connection ended: {error}"
        self.played.set()

    def ask(self, method, url, fields=""):
        self.step += 1
        self.transport.write(f"{method} {url} RTSP/1.0\r\nCSeq: {self.step}\r\n{fields}\r\n".encode())

    def data_received(self, data):
        self.received += data
        at, received = 0, self.received
        now = int(time.monotonic() * 1e6)
        while len(received) - at >= 4:
            if received[at] == 0x24:
                end = at + 4 + (received[at + 2] << 8 | received[at + 3])
                if end > len(received):
                    break
                self.packet(received, at, now)
            else:
                head = received.find(b"\r\n\r\n", at)
                if head < 0:
                    break
                text = received[at:head].decode("latin-1")
                fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in text.split("\r\n")[1:])}
                end = head + 4 + int(fields.get("content-length", 0))
                if end > len(received):
                    break
                self.response(text, fields)
            at = end
        del received[:at]

    def response(self, text, fields):
        if " 200 " not in text.split("\r\n")[0]:
            self.ended = text.split("\r\n")[0]
            return self.transport.close()
        session = f"Session: {fields.get('session', '').split(';')[0]}\r\n"
        if self.step == 1:
            self.ask("DESCRIBE", self.url, "Accept: application/sdp\r\n")
        elif self.step == 2:
            self.control = fields.get("content-base", self.url + "/")
            self.ask("SETUP", self.control + "track1", "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n")
        elif self.step == 3:
            self.ask("PLAY", self.control, session + "Range: npt=0.000-\r\n")

    def packet(self, received, at, now):
        sequence = received[at + 6] << 8 | received[at + 7]
        if self.expected is not None and sequence != self.expected:
            self.lost += 1
        self.expected = sequence + 1 & 0xFFFF
        payload = at + HEADS
        if received[payload] & 0x1F == SEI:
            stamp = payload + 3 + len(MARK)
            self.due = int(received[stamp:stamp + 16], 16)
        if received[at + 5] & 0x80 and self.due is not None:
            self.ages.append((now - self.due) / 1000)
            if self.first is None:
                self.first = time.monotonic()
                self.played.set()
                if self.stalls:
                    self.transport.pause_reading()


async def play(url, stalls=False):
    parts, loop = urllib.parse.urlsplit(url), asyncio.get_running_loop()
    _, viewer = await loop.create_connection(lambda: Viewer(url, stalls), parts.hostname, parts.port)
    await asyncio.wait_for(viewer.played.wait(), PLAYED_WITHIN)
    if viewer.first is None:
        sys.exit(f"{url}: {viewer.ended}")
    return viewer


async def watch(seconds, stalled, urls):
    """Viewers come one after the other, evenly over a frame's time; what they see counts from when all are there."""
    viewers = [await play(url, index < stalled) for index, url in enumerate(urls)]
    print("playing", flush=True)
    begun = [len(viewer.ages) for viewer in viewers]
    lost = sum(viewer.lost for viewer in viewers)
    await asyncio.sleep(seconds)
    ages = [age for viewer, from_ in list(zip(viewers, begun))[stalled:] for age in viewer.ages[from_:]]
    return {"frames": len(ages), "lost": sum(viewer.lost for viewer in viewers) - lost,
            "ended": [viewer.ended for viewer in viewers if viewer.ended], **spread(ages),
            "late": sum(age > 40 for age in ages)}


async def first(runs, url):
    times = []
    for _ in range(runs):
        began = time.monotonic()
        viewer = await play(url)
        times.append((viewer.first - began) * 1000)
        viewer.transport.abort()
        await asyncio.sleep(0.05)
    return {"times": times}


def ask(seconds, host, port, path):
    connection, times, end = http.client.HTTPConnection(host, port, timeout=20), [], time.monotonic() + seconds
    while time.monotonic() < end:
        began = time.monotonic()
        connection.request("POST", path, SOAP, {"Content-Type": "application/soap+xml; charset=utf-8"})
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            sys.exit(f"{path}: {answer.status}")
        times.append((time.monotonic() - began) * 1000)
        time.sleep(max(0.0, 0.01 - times[-1] / 1000))
    return {"requests": len(times), **spread(times)}


def spread(values):
    ordered = sorted(values) or [float("nan")]
    return {name: ordered[min(len(ordered) - 1, int(len(ordered) * share))] for name, share in
            (("p50", 0.5), ("p99", 0.99), ("max", 1.0))}


def main():
    what, *rest = sys.argv[1:]
    if what == "watch":
        found = asyncio.run(watch(float(rest[0]), int(rest[1]), rest[2:]))
    elif what == "first":
        found = asyncio.run(first(int(rest[0]), rest[1]))
    else:
        found = ask(float(rest[0]), rest[1], int(rest[2]), rest[3])
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
