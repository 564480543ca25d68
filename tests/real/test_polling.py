"""A node whose inotify instances are used up, as dense Kubernetes nodes are: the sidecar polls, says so once, goes on.

A user namespace of our own with the limit set to 0 makes it real: the kernel refuses the sidecar, and nobody else notices.
"""

import os
import shutil
import subprocess
import unittest

import support
from support import Case, free_port, metric, wait_for

REFUSED = ["unshare", "--user", "--map-root-user", "sh", "-c", 'echo 0 > /proc/sys/user/max_inotify_instances && exec "$@"', "sh"]


def can_refuse():
    return shutil.which("unshare") and subprocess.run([*REFUSED, "true"], capture_output=True).returncode == 0


class Polling(Case):
    @unittest.skipUnless(can_refuse(), "no user namespaces for this user on this machine (unshare --user)")
    def test_without_inotify_an_edit_is_found_by_reading(self):
        folder = self.dir / "config"
        folder.mkdir()
        (folder / "uplinks.yaml").write_text("devices: []\n")
        admin = free_port()
        command = [support.BINARY, "run", "--config", folder / "uplinks.yaml", "--admin", f"127.0.0.1:{admin}"]
        self.start("polling", [*REFUSED, *map(str, command)])
        wait_for("the first document is in force", lambda: metric(admin, "onvif_uplink_config_generation") == 1)
        (folder / "new").write_text("devices: [] # edited\n")
        os.rename(folder / "new", folder / "uplinks.yaml")
        wait_for("the edit is in force", lambda: metric(admin, "onvif_uplink_config_generation") == 2)
        log = (self.dir / "polling.log").read_text()
        self.assertEqual(log.count("files cannot be watched"), 1, log)
