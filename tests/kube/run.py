#!/usr/bin/env python3
"""Runs the tests on a real one-node Kubernetes: `make test-kube`, or `run.py WORD…` for names that contain a word.

The node lives in a network namespace of its own, and so do the tests, which reach pods by their address: this program makes
the namespace, runs itself there and takes everything away again, whatever became of the tests. Needs root, the Debian packages
of `make install-test-tools` and the programs of `make kube-tools`. `run.py --shell COMMAND…` brings the node up for a command
(KUBECONFIG is set), for a look by hand.
"""

import os
import pathlib
import signal
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path[1:1] = [str(HERE.parent / "real")]

import node  # noqa: E402
import suite  # noqa: E402
import support  # noqa: E402

INSIDE = "ONVIF_UPLINK_KUBE_INSIDE"


def outside(arguments):
    """Makes the namespace, runs `arguments` of this program there, and leaves nothing behind."""
    why_not = node.why_not()
    if why_not:
        print(f"the tests on a Kubernetes node cannot run here: {why_not}")
        print("0 passed, 1 failed" if support.IN_CI else "0 passed, 0 failed (not run for want of a part)")
        return 1 if support.IN_CI else 0
    # A stop must not leave a node behind: it becomes an exception, which the `finally` below passes through.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    node.sweep()
    node.make_namespace()
    try:
        return subprocess.run([*node.INSIDE, sys.executable, __file__, *arguments],
                              env=os.environ | {INSIDE: "1"}).returncode
    finally:
        node.sweep()


def inside(arguments):
    """Starts the node, then runs the tests."""
    cluster = node.NODE
    seconds = cluster.start()
    print(f"the node is Ready {seconds:.1f} s after its start", flush=True)
    try:
        if arguments[:1] == ["--shell"]:
            return subprocess.run(arguments[1:], env=cluster.environment()).returncode
        return suite.run(HERE, arguments, "make install-test-tools kube-tools")
    finally:
        cluster.stop()


if __name__ == "__main__":
    sys.exit((inside if os.environ.get(INSIDE) else outside)(sys.argv[1:]))
