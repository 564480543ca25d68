"""The images of the tests, made without an image engine: a root in a folder, one layer, put together by crane.

`onvif-uplink` holds what the Dockerfile's last stage holds: the binary, the CA bundle, user and entry point. The binary is the one
that the variable ONVIF_UPLINK names; the one that ships is static and brings nothing else. One that is not (a build for
development) brings the libraries that it names. The others are the sandbox of each pod and a camera that we did not write.
"""

import io
import pathlib
import re
import shutil
import subprocess

from PIL import Image
from support import BINARY, free_port, listens, program, stop, wait_for

CA_BUNDLE = pathlib.Path("/etc/ssl/certs/ca-certificates.crt")
SANDBOX = r"""
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>
static void end(int number) { (void)number; _exit(0); }
/* Holds the namespaces of a pod: waits for its end, and takes the orphans of a pod that shares its processes. */
int main(void) {
    signal(SIGTERM, end); signal(SIGINT, end);
    for (;;) { while (waitpid(-1, 0, WNOHANG) > 0) {} sleep(1); }
}
"""
# A camera as the neighbour may be: nginx with one picture, the user and the ports of others, nothing of ours.
NGINX = """daemon off; pid /tmp/nginx.pid; error_log stderr; worker_processes 1;
events { worker_connections 64; }
http { access_log off; client_body_temp_path /tmp/body; proxy_temp_path /tmp/proxy; fastcgi_temp_path /tmp/fastcgi;
  uwsgi_temp_path /tmp/uwsgi; scgi_temp_path /tmp/scgi;
  server { listen 127.0.0.1:8000; root /www; location /long.bin { limit_rate 500k; } } }
"""
# The variable of the Dockerfile, and the user of each image.
OURS = ["--entrypoint", "/onvif-uplink", "--env", "GLIBC_TUNABLES=glibc.cpu.x86_rep_movsb_threshold=100000000"]


def make(folder, tools):
    """Makes all images as archives below `folder`; returns their paths. They are called `localhost/NAME:1` on the node."""
    folder.mkdir(parents=True)
    (folder / "sandbox.c").write_text(SANDBOX)
    subprocess.run(["gcc", "-O2", "-static", "-o", folder / "pause", folder / "sandbox.c"], check=True)
    port = free_port()
    with (folder / "registry.log").open("wb") as log:
        registry = subprocess.Popen([tools / "crane", "registry", "serve", "--address", f"127.0.0.1:{port}"],
                                    stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    try:
        wait_for("the registry listens", lambda: listens(port), 10)
        build = _Builder(folder, tools / "crane", f"127.0.0.1:{port}")
        nginx = pathlib.Path(program("nginx"))
        files = {"/etc/nginx.conf": NGINX.encode(), "/www/snapshot.jpg": picture(), "/www/long.bin": bytes(8 << 20),
                 "/etc/passwd": b"camera:x:1000:1000::/:/\n", "/etc/group": b"camera:x:1000:\n"}
        return [build.image("pause", {"/pause": folder / "pause"}, ["--entrypoint", "/pause"]),
                build.image("onvif-uplink", {"/onvif-uplink": BINARY, str(CA_BUNDLE): CA_BUNDLE}, OURS),
                build.image("foreign-camera", {str(nginx): nginx} | files,
                            ["--entrypoint", f"{nginx},-c,/etc/nginx.conf,-p,/tmp"], "1000:1000")]
    finally:
        stop(registry)


def picture():
    """A JPEG in which there is something to see."""
    file = io.BytesIO()
    Image.effect_mandelbrot((320, 240), (-2, -1.5, 1, 1.5), 50).save(file, "JPEG")
    return file.getvalue()


class _Builder:
    def __init__(self, folder, crane, registry):
        self.folder, self.crane, self.registry = folder, crane, registry

    def image(self, name, files, settings, user="65532:65532"):
        """`files`: path in the image to a file here, or to content. Returns the archive."""
        root, layer, archive = (self.folder / f"{name}{end}" for end in (".root", ".layer.tar", ".tar"))
        (root / "tmp").mkdir(parents=True)
        (root / "tmp").chmod(0o1777)
        for path, content in files.items():
            place(root, path, content)
            for library in libraries(content) if isinstance(content, pathlib.Path) else []:
                place(root, str(library), library)
        subprocess.run(["tar", "--sort=name", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner", "-C", root,
                        "-cf", layer, "."], check=True)
        tag = f"{self.registry}/{name}:1"
        self._crane("append", "--oci-empty-base", "-f", layer, "-t", tag)
        self._crane("mutate", tag, *settings, "--user", user, "--set-platform", "linux/amd64", "-t", tag)
        self._crane("pull", tag, archive)
        shutil.rmtree(root)
        layer.unlink()
        return archive

    def _crane(self, verb, *arguments):
        subprocess.run([self.crane, verb, "--insecure", *arguments], check=True, capture_output=True)


def place(root, path, content):
    file = root / path.lstrip("/")
    file.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        file.write_bytes(content)
        file.chmod(0o644)
    else:
        shutil.copyfile(content, file)
        file.chmod(0o755)


def libraries(file):
    """The shared libraries and the loader that a program names; none for a static one and for what is no program."""
    listing = subprocess.run(["ldd", file], capture_output=True, text=True)
    return [pathlib.Path(path) for path in re.findall(r"(/\S+) \(0x", listing.stdout)]
