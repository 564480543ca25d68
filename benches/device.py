#!/usr/bin/env python3
"""The device of onvif.py: SOAP, a large file, and HTTP Digest on one of its two ports; counts what reaches it.

Prints its two ports: without a password, then with one. The former calculates as much as the latter, so that the device's own cost
of Digest is no difference between them. The nonce never ends. Then answers words on standard input: `report` with the counts since the last
one as JSON, `release` once the held answers are on their way.
"""

import asyncio
import hashlib
import json
import os
import pathlib
import re
import sys

USER, PASSWORD, REALM = "admin", "pass word 7", "device"
# Its address in its own network.
OWN = "http://192.168.1.10"
FIELD = re.compile(r'(\w+)="?([^",]*)"?')
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.I)
SHOWN = re.compile(rb"\r\nauthorization: *Digest ([^\r]*)", re.I)
# What the port without a password calculates with.
SAMPLE = (f'username="admin", realm="device", nonce="0123456789abcdef", uri="/onvif/event_service", response="{"0" * 32}", '
          'algorithm=MD5, cnonce="0123456789abcdef", qop=auth, nc=00000001')


def md5(text):
    return hashlib.md5(text.encode()).hexdigest()


KEY, NONCE = md5(f"{USER}:{REALM}:{PASSWORD}"), os.urandom(8).hex()


def answer(size):
    """A subscription with its address, filled up with topics to `size` bytes."""
    head = ('<?xml version="1.0" encoding="UTF-8"?><s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope" '
            'xmlns:tev="http://www.onvif.org/ver10/events/wsdl" xmlns:a="http://www.w3.org/2005/08/addressing" '
            'xmlns:n="http://docs.oasis-open.org/wsn/b-2"><s:Body><tev:CreatePullPointSubscriptionResponse><tev:SubscriptionReference>'
            f'<a:Address>{OWN}/onvif/subscription/1</a:Address></tev:SubscriptionReference>')
    end = "</tev:CreatePullPointSubscriptionResponse></s:Body></s:Envelope>"
    topic = "<n:Topic>tns1:RuleEngine/CellMotionDetector/Motion</n:Topic>"
    return (head + topic * max(0, (size - len(head) - len(end)) // len(topic)) + end).encode()


class Device(asyncio.Protocol):
    """One connection."""

    counts, held, seen, answers = {"requests": 0, "challenges": 0, "held": 0}, [], set(), {}

    def __init__(self, protected, file):
        self.protected, self.file, self.buffer, self.sending = protected, file, b"", None

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = self.buffer[:end]
            length = LENGTH.search(head)
            whole = end + 4 + (int(length.group(1)) if length else 0)
            if len(self.buffer) < whole:
                return
            self.buffer = self.buffer[whole:]
            self.take(head)

    def take(self, head):
        self.counts["requests"] += 1
        method, path, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
        shown = SHOWN.search(head)
        right = self.is_right(method, path, shown.group(1).decode() if shown else "" if self.protected else SAMPLE)
        if self.protected and not right:
            self.counts["challenges"] += 1
            challenge = f'WWW-Authenticate: Digest realm="{REALM}", qop="auth", algorithm=MD5, nonce="{NONCE}"\r\n'
            return self.say("401 Unauthorized", b"", challenge)
        if path == "/clip":
            self.sending = asyncio.get_running_loop().create_task(self.send_file())
        elif method != "POST":
            self.say("404 Not Found", b"", "")
        elif path == "/onvif/hold":
            self.counts["held"] += 1
            self.held.append(self)
        else:
            self.soap(4096 if path == "/onvif/large" else 0)

    def is_right(self, method, path, shown):
        field = dict(FIELD.findall(shown))
        if field.get("nonce") != NONCE and self.protected:
            return False
        count, cnonce = field.get("nc"), field.get("cnonce")
        wanted = md5(f"{KEY}:{NONCE}:{count}:{cnonce}:auth:{md5(f'{method}:{path}')}")
        fresh = (cnonce, count) not in self.seen
        if fresh and self.protected:
            self.seen.add((cnonce, count))
        return fresh and wanted == field.get("response")

    def soap(self, size):
        if size not in self.answers:
            self.answers[size] = answer(size)
        self.say("200 OK", self.answers[size], "Content-Type: application/soap+xml; charset=utf-8\r\n")

    def say(self, status, body, fields):
        self.transport.write(f"HTTP/1.1 {status}\r\n{fields}Content-Length: {len(body)}\r\n\r\n".encode() + body)

    async def send_file(self):
        length = os.path.getsize(self.file)
        self.transport.write(f"HTTP/1.1 200 OK\r\nContent-Type: video/mp4\r\nContent-Length: {length}\r\n\r\n".encode())
        with open(self.file, "rb") as file:
            await asyncio.get_running_loop().sendfile(self.transport, file)

    @classmethod
    def word(cls):
        word = sys.stdin.readline().strip()
        if word == "report":
            print(json.dumps(cls.counts), flush=True)
            cls.counts.update(dict.fromkeys(cls.counts, 0))
        elif word == "release":
            for device in cls.held:
                device.soap(0)
            cls.held.clear()
            print("done", flush=True)
        else:
            asyncio.get_running_loop().stop()


async def serve(file):
    loop = asyncio.get_running_loop()
    servers = [await loop.create_server(lambda protected=protected: Device(protected, file), "127.0.0.1", 0, backlog=512)
               for protected in (False, True)]
    loop.add_reader(sys.stdin, Device.word)
    print(*[server.sockets[0].getsockname()[1] for server in servers], flush=True)


def main():
    loop = asyncio.new_event_loop()
    loop.run_until_complete(serve(pathlib.Path(sys.argv[1])))
    loop.run_forever()


if __name__ == "__main__":
    main()
