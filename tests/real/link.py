"""Two network namespaces joined by a link with delay, loss, rate, queue and a blackhole, by two TUN devices and this
process between them. No privileges but those within a user namespace of our own; used by tests and benchmarks.

As a program: link.py PID_NEAR PID_FAR, commands on standard input (see `Emulator.obey`), `ready` on standard output.
"""

import collections
import ctypes
import fcntl
import os
import random
import select
import struct
import subprocess
import sys
import time

NEAR, FAR = "10.99.0.1", "10.99.0.2"
NEAR6, FAR6 = "fd99::1", "fd99::2"
NEW_NAMESPACES = ["unshare", "--user", "--map-root-user", "--net", "--mount"]
MTU = 1500


def available():
    """A reason why not, or nothing."""
    for program in ("unshare", "nsenter", "ip"):
        if subprocess.run(["which", program], capture_output=True).returncode:
            return f"{program} is not installed"
    tried = subprocess.run([*NEW_NAMESPACES, "ip", "tuntap", "add", "dev", "t", "mode", "tun"], capture_output=True, text=True)
    return tried.stderr.strip() if tried.returncode else None


class Link:
    """The link; `near` and `far` begin a command line that runs on that side. Close it."""

    def __init__(self, delay_ms=0.0, loss=0.0, kbit=0, queue=1000):
        self.holders = [self._hold(NEW_NAMESPACES)]
        self.near = self._enter(self.holders[0])
        # The far side shares the user namespace, so that the emulator may have a device in both.
        self.holders.append(self._hold([*self._enter(self.holders[0], "-U"), "unshare", "--net", "--mount"]))
        self.far = self._enter(self.holders[1])
        pids = [str(holder.pid) for holder in self.holders]
        self.emulator = subprocess.Popen([*self._enter(self.holders[0], "-U"), sys.executable, __file__, *pids],
                                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._answered("ready")
        for side, device, own, own6 in ((self.near, "ta", NEAR, NEAR6), (self.far, "tb", FAR, FAR6)):
            for line in (f"addr add {own}/24 dev {device}", f"-6 addr add {own6}/64 dev {device} nodad",
                         f"link set {device} mtu {MTU} up", "link set lo up"):
                self.run(side, "ip", *line.split())
        self.tell(f"delay {delay_ms}", f"loss {loss}", f"rate {kbit}", f"queue {queue}")

    @staticmethod
    def _hold(command):
        """A process whose namespaces we enter; it says when it is in them."""
        holder = subprocess.Popen([*command, "sh", "-c", "echo in; exec sleep infinity"], stdout=subprocess.PIPE, text=True)
        holder.stdout.readline()
        return holder

    @staticmethod
    def _enter(holder, *which):
        return ["nsenter", "-t", str(holder.pid), "--preserve-credentials", *(which or ("-U", "-n", "-m"))]

    def _answered(self, word):
        line = self.emulator.stdout.readline().strip()
        if line != word:
            raise OSError(f"the link emulator said {line!r} and not {word!r}")

    def tell(self, *commands):
        """Changes the link: `delay MS`, `loss PERCENT`, `rate KBIT` (0: none), `queue PACKETS`, `blackhole on|off`, `drop6 on|off`."""
        for command in commands:
            self.emulator.stdin.write(command + "\n")
            self.emulator.stdin.flush()
            self._answered("done")

    @staticmethod
    def run(side, *command, seconds=60):
        """Runs a command on a side and returns what it printed."""
        return subprocess.run([*side, *map(str, command)], check=True, capture_output=True, timeout=seconds).stdout

    def fetch(self, side, url, *more):
        """A GET from within a side."""
        return self.run(side, "curl", "-sS", "--noproxy", "*", "--fail-with-body", "--max-time", "50", *more, url)

    def close(self):
        for process in (self.emulator, *reversed(self.holders)):
            process.kill()
            process.wait()


class Emulator:
    """Carries packets between two TUN devices. The delay is that of one direction."""

    def __init__(self, devices):
        self.peers = {devices[0]: devices[1], devices[1]: devices[0]}
        self.waiting = {device: collections.deque() for device in devices}
        self.free_at = dict.fromkeys(devices, 0.0)
        self.delay, self.loss, self.rate, self.queue = 0.0, 0.0, 0.0, 1000
        self.blackhole = self.drop6 = False

    def obey(self, line):
        """A command of `Link.tell`; the next packet sees it."""
        word, value = line.split()
        if word == "delay":
            self.delay = float(value) / 1000
        elif word == "loss":
            self.loss = float(value) / 100
        elif word == "rate":
            self.rate = float(value) * 1000 / 8
        elif word == "queue":
            self.queue = int(value)
        elif word in ("blackhole", "drop6"):
            setattr(self, word, value == "on")
        else:
            raise ValueError(line)

    def run(self):
        """Until the end of the commands."""
        commands = sys.stdin.fileno()
        while True:
            now = time.monotonic()
            due = min((queue[0][0] for queue in self.waiting.values() if queue), default=None)
            readable, _, _ = select.select([commands, *self.peers], [], [], None if due is None else max(0.0, due - now))
            if commands in readable:
                line = sys.stdin.readline()
                if not line:
                    return
                self.obey(line)
                print("done", flush=True)
            for device in readable:
                if device != commands:
                    self.take(device)
            self.deliver()

    def take(self, device):
        """Every packet that waits at one end."""
        while True:
            try:
                packet = os.read(device, 65536)
            except BlockingIOError:
                return
            queue, now = self.waiting[device], time.monotonic()
            lost = self.blackhole or (self.drop6 and packet[0] >> 4 == 6) or random.random() < self.loss
            if lost or len(queue) >= self.queue + int(self.delay * self.rate / MTU):
                continue
            sent = max(now, self.free_at[device])
            if self.rate:
                sent += len(packet) / self.rate
            self.free_at[device] = sent
            queue.append((sent + self.delay, packet))

    def deliver(self):
        """What is due goes to the other end; a device that is full drops it, as a real one would."""
        now = time.monotonic()
        for device, queue in self.waiting.items():
            while queue and queue[0][0] <= now:
                try:
                    os.write(self.peers[device], queue.popleft()[1])
                except OSError:
                    pass


def tun_in(pid, name):
    """A TUN device in the network namespace of a process; ours is that one afterwards."""
    with open(f"/proc/{pid}/ns/net") as namespace:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(namespace.fileno(), 0x40000000):  # CLONE_NEWNET
            raise OSError(ctypes.get_errno(), f"setns to the network of {pid}")
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    # TUNSETIFF; IFF_TUN | IFF_NO_PI.
    fcntl.ioctl(device, 0x400454CA, struct.pack("16sH22x", name.encode(), 0x0001 | 0x1000))
    return device


if __name__ == "__main__":
    emulator = Emulator([tun_in(sys.argv[1], "ta"), tun_in(sys.argv[2], "tb")])
    print("ready", flush=True)
    emulator.run()
