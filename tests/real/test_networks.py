"""Difficult networks, with kernels that believe in them: the sidecar in one network namespace, the gateway in another, and
between them a link with delay, loss, rate and holes (link.py)."""

import hashlib
import json
import sys
import time
import unittest

import link
import neighbour
from support import BINARY, Case, Pki, document, need, wait_for

WHY_NOT = link.available()
LISTEN, FRONT, ADMIN, NEIGHBOUR = 8443, 8800, 9600, 8080


@unittest.skipIf(WHY_NOT, f"no network namespaces here: {WHY_NOT}")
class Networks(Case):
    """`near` has the device and the sidecar, `far` the gateway."""

    def setUp(self):
        super().setUp()
        need("curl", "ip")
        self.pki = Pki(self.dir / "pki")
        self.pki.client("camera-1")
        self.pki.server("far", f"IP:{link.FAR},IP:{link.FAR6},DNS:cloud.test")

    def connect(self, host=link.FAR, settings=(), **quality):
        """Both ends, as different as the link is."""
        self.link = link.Link(**quality)
        self.addCleanup(self.link.close)
        self.start("neighbour", [*self.link.near, sys.executable, neighbour.__file__, NEIGHBOUR])
        wait_for("the neighbour listens", lambda: b":8080" in self.link.run(self.link.near, "ss", "-ltn"))
        self.start_gateway_far()
        config = self.dir / "uplinks.yaml"
        config.write_text(document(self.pki, [("camera-1", NEIGHBOUR, "Administrator")], f"https://{host}:{LISTEN}/", settings))
        self.start("sidecar", [*self.link.near, BINARY, "run", "--config", config, "--admin", f"127.0.0.1:{ADMIN}",
                               "--grace-period", "2s", "--log-format", "text"])

    def start_gateway_far(self):
        self.start("gateway", [*self.link.far, BINARY, "gateway", "--listen", f"[::]:{LISTEN}", "--cert", self.pki.path("far.crt"),
                               "--key", self.pki.path("far.key"), "--client-ca", self.pki.path("ca.crt"),
                               "--front", f"127.0.0.1:{FRONT}", "--admin", "127.0.0.1:9601", "--grace-period", "2s"])

    def uplink(self):
        """The only uplink in /status, seen from its own namespace."""
        try:
            return json.loads(self.link.fetch(self.link.near, f"http://127.0.0.1:{ADMIN}/status"))["uplinks"][0]
        except link.subprocess.CalledProcessError as error:
            raise OSError(error.stderr.decode()) from error

    def online(self, seconds=30):
        return wait_for("Online", lambda: (uplink := self.uplink())["status"] == "Online" and uplink, seconds)

    def offline(self, cause, seconds=30):
        """Waits until the log names this cause; returns its line."""
        log = self.dir / "sidecar.log"
        lines = lambda: [line for line in log.read_text().splitlines() if f'cause="{cause}"' in line]
        return wait_for(f"the cause {cause}", lines, seconds)[-1]

    def get(self, path):
        # The gateway knows the device when it has heard of it: one crossing of the link later than the device knows of the remote.
        wait_for("the gateway knows the device", lambda: b"camera-1" in self.link.fetch(self.link.far, f"http://127.0.0.1:{FRONT}/devices"))
        return self.link.fetch(self.link.far, f"http://127.0.0.1:{FRONT}/camera-1{path}")

    def test_a_slow_lossy_link_carries_everything_whole(self):
        self.connect(delay_ms=40, loss=1, kbit=10_000)
        self.online()
        self.assertEqual(self.get("/hello"), b"hello")
        body = self.get("/large")
        self.assertEqual(hashlib.sha256(body).digest(), hashlib.sha256(neighbour.LARGE).digest())

    def test_a_link_that_swallows_everything_is_noticed_and_survived(self):
        self.connect(delay_ms=5)
        first = self.online()["session"]["since"]
        self.link.tell("blackhole on")
        began = time.monotonic()
        # Nothing tells the kernel: the 30 s rule, or the kernel's own limit for what is not acknowledged, ends it.
        wait_for("not Online any more", lambda: self.uplink()["status"] != "Online", 45)
        self.assertLess(time.monotonic() - began, 36)
        self.link.tell("blackhole off")
        self.assertNotEqual(self.online(60)["session"]["since"], first)
        self.assertEqual(self.get("/hello"), b"hello")

    def test_a_lost_address_leads_to_a_new_session_at_once(self):
        self.connect(delay_ms=5)
        self.online()
        began = time.monotonic()
        self.link.run(self.link.near, "ip", "addr", "add", "10.99.0.3/24", "dev", "ta")
        self.link.run(self.link.near, "ip", "addr", "del", f"{link.NEAR}/24", "dev", "ta")
        self.link.run(self.link.near, "ip", "addr", "replace", "10.99.0.3/24", "dev", "ta")
        self.assertIn(link.NEAR, self.offline("network-changed"))
        self.online()
        self.assertLess(time.monotonic() - began, 10)
        self.assertEqual(self.get("/hello"), b"hello")

    def test_a_route_that_leads_elsewhere_leads_to_a_new_session_at_once(self):
        self.connect(delay_ms=5)
        first = self.online()["session"]["since"]
        self.link.run(self.link.near, "ip", "addr", "add", "10.99.0.3/32", "dev", "ta")
        self.link.run(self.link.near, "ip", "route", "add", f"{link.FAR}/32", "dev", "ta", "src", "10.99.0.3")
        # The old session still has its address: the new one stands before that one goes.
        wait_for("a new session", lambda: (session := self.uplink()["session"]) and session["since"] != first, 10)
        self.assertIn("10.99.0.3:", self.link.run(self.link.near, "ss", "-tn").decode())
        self.assertEqual(self.get("/hello"), b"hello")

    def test_a_change_that_does_not_concern_the_session_leaves_it_alone(self):
        self.connect(delay_ms=5)
        since = self.online()["session"]["since"]
        self.link.run(self.link.near, "ip", "addr", "add", "10.98.0.1/24", "dev", "lo")
        self.link.run(self.link.near, "ip", "route", "add", "10.97.0.0/24", "dev", "ta")
        self.link.run(self.link.near, "ip", "addr", "del", "10.98.0.1/24", "dev", "lo")
        self.assertEqual(self.get("/hello"), b"hello")
        self.assertEqual(self.uplink()["session"]["since"], since)

    def test_a_network_that_comes_back_is_dialed_at_once(self):
        self.connect(delay_ms=5)
        self.online()
        self.link.run(self.link.near, "ip", "link", "set", "ta", "down")
        self.offline("network-changed")
        wait_for("a wait of many seconds", lambda: self.uplink()["attempt"] >= 3, 40)
        self.link.run(self.link.near, "ip", "link", "set", "ta", "up")
        began = time.monotonic()
        self.online()
        self.assertLess(time.monotonic() - began, 5)

    def named(self, *addresses):
        """Both families under one name: a hosts file in the namespace of the near side."""
        hosts = self.dir / "hosts"
        hosts.write_text("127.0.0.1 localhost\n" + "".join(f"{address} cloud.test\n" for address in addresses))
        self.link.run(self.link.near, "mount", "--bind", hosts, "/etc/hosts")

    def peer(self, *addresses, drop6=False):
        """Comes up by name; returns how long the dial took and which address was taken."""
        self.link = link.Link(delay_ms=5)
        self.addCleanup(self.link.close)
        self.named(*addresses)
        self.link.tell(f"drop6 {'on' if drop6 else 'off'}")
        self.start_gateway_far()
        wait_for("the gateway listens", lambda: b":8443" in self.link.run(self.link.far, "ss", "-ltn"))
        config = self.dir / "uplinks.yaml"
        config.write_text(document(self.pki, [("camera-1", NEIGHBOUR, "Administrator")], f"https://cloud.test:{LISTEN}/"))
        began = time.monotonic()
        self.start("sidecar", [*self.link.near, BINARY, "run", "--config", config, "--admin", f"127.0.0.1:{ADMIN}",
                               "--grace-period", "2s", "--log-format", "text"])
        self.online()
        line = next(line for line in (self.dir / "sidecar.log").read_text().splitlines() if "uplink is online" in line)
        return time.monotonic() - began, line.split("peer=")[1].split()[0]

    def test_a_host_of_both_families_is_reached_by_ipv6(self):
        _, peer = self.peer(link.FAR, link.FAR6)
        self.assertEqual(peer, f"[{link.FAR6}]:{LISTEN}")

    def test_a_broken_ipv6_costs_a_moment_and_not_a_timeout(self):
        took, peer = self.peer(link.FAR, link.FAR6, drop6=True)
        self.assertEqual(peer, f"{link.FAR}:{LISTEN}")
        self.assertLess(took, 3)

    def test_hosts_of_one_family_are_reached(self):
        for address, shown in ((link.FAR6, f"[{link.FAR6}]"), (link.FAR, link.FAR)):
            with self.subTest(address=address):
                self.assertEqual(self.peer(address)[1], f"{shown}:{LISTEN}")

    def test_an_uplink_leaves_by_the_source_that_is_set(self):
        self.connect(settings=["network: { sourceAddress: 10.99.0.7 }"], delay_ms=5)
        self.offline("source-unavailable")
        self.link.run(self.link.near, "ip", "addr", "add", "10.99.0.7/24", "dev", "ta")
        self.online()
        connections = self.link.run(self.link.near, "ss", "-tn").decode()
        self.assertIn("10.99.0.7:", connections)

