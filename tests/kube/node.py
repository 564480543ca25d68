"""One real Kubernetes node in a network namespace: etcd, API server, controller manager, scheduler, containerd and kubelet.

There is no DNS and no kube-proxy: pods are reached by their address, names are `hostAliases`. Nothing leaves the namespace. The
service address of the API server works, because the node has that address itself: pods find the API as in any cluster.
"""

import functools
import hashlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import time

import images
from support import ROOT, TARGET, Pki, get, wait_for

BIN = (TARGET / "tools" / "bin").resolve()
PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kubectl", "containerd",
            "containerd-shim-runc-v2", "ctr", "crane", "helm", "helm3", "cert-manager")
DEFINITIONS = BIN.parent / "share" / "cert-manager"
# Of the working copy: two of them do not disturb each other, and a later run of this one finds what an earlier one left.
NAME = "ou-kube-" + hashlib.sha256(str(ROOT).encode()).hexdigest()[:6]
HOME = pathlib.Path("/tmp") / NAME  # short: the path of a socket has at most 107 bytes
NETNS = pathlib.Path("/run/netns") / NAME
# Not `ip netns exec`: that mounts a /sys of its own, without the cgroups that kubelet and runc need.
INSIDE = ["nsenter", f"--net={NETNS}"]
ADDRESS, SERVICE = "10.88.78.1", "10.96.0.1"
API = f"https://{ADDRESS}:443"
PODS = "10.88.77.0/24"
CGROUPS = pathlib.Path("/sys/fs/cgroup")
GONE_SECONDS = 10  # a killed process that is there longer waits for a kernel, and the test machine has a fault


def why_not():
    """What this machine lacks for a node, as a sentence, or nothing."""
    if os.geteuid() != 0:
        return "a node needs root (namespaces, cgroups, mounts)"
    missing = [name for name in PROGRAMS if not (BIN / name).exists()]
    if missing:
        return f"{', '.join(missing)} not built: make kube-tools (needs Go 1.26 or newer)"
    missing = [name for name in ("ip", "nsenter", "openssl", "gcc") if shutil.which(name) is None]
    missing += [path for path in ("/usr/sbin/runc", "/usr/lib/cni/bridge") if not pathlib.Path(path).exists()]
    return f"{', '.join(missing)} not installed: make install-test-tools" if missing else None


def make_namespace():
    for command in (f"ip netns add {NAME}", *(f"ip -n {NAME} {line}" for line in (
            # The node's own address; nothing is behind it. The API server's service address beside it, for pods.
            "link set lo up", "link add node0 type veth peer name node1", f"addr add {ADDRESS}/32 dev node0",
            f"addr add {SERVICE}/32 dev node0", "link set node0 up", "link set node1 up",
            f"route add default dev node0 src {ADDRESS}")), " ".join([*INSIDE, "sysctl -qw net.ipv4.ip_forward=1"])):
        subprocess.run(command.split(), check=True)


def sweep():
    """Ends what runs in the namespace and the cgroups of the node, and removes both; also after a run that was killed."""
    wait_for("the node's processes are gone", lambda: not _kill(), GONE_SECONDS)
    # Newest first: what lies within another mount goes before it.
    for line in reversed(pathlib.Path("/proc/self/mounts").read_text().splitlines()):
        if line.split(" ")[1].startswith(f"{HOME}/"):
            subprocess.run(["umount", "--lazy", line.split(" ")[1]], check=True)
    for top in _cgroups():
        for folder in sorted(top.rglob("*"), reverse=True):
            if folder.is_dir():
                wait_for(f"{folder} is empty", functools.partial(_remove, folder), GONE_SECONDS)
        _remove(top)
    if NETNS.exists():
        subprocess.run(["ip", "netns", "del", NAME], check=True)
    shutil.rmtree(HOME, ignore_errors=True)


def _cgroups():
    return [folder for folder in [CGROUPS / NAME, *CGROUPS.glob(f"*/{NAME}")] if folder.exists()]


def _remove(folder):
    folder.rmdir()
    return True


def _kill():
    """SIGKILL to all that is left; says whether there was anything."""
    pids = set()
    if NETNS.exists():
        pids.update(subprocess.run(["ip", "netns", "pids", NAME], check=True, capture_output=True, text=True).stdout.split())
    for top in _cgroups():
        for file in top.rglob("cgroup.procs"):
            pids.update(file.read_text().split())
    for pid in map(int, pids - {str(os.getpid())}):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    return bool(pids)


class Node:
    """The node: `start` it once for all tests; each part can be killed and started again by its name."""

    def __init__(self):
        self.processes, self.commands = {}, {}
        self.kubeconfig = HOME / "admin.conf"

    def environment(self):
        return os.environ | {"KUBECONFIG": str(self.kubeconfig), "PATH": f"{BIN}:{os.environ['PATH']}",
                             "HELM_CACHE_HOME": str(HOME / "helm"), "HELM_CONFIG_HOME": str(HOME / "helm"),
                             "HELM_DATA_HOME": str(HOME / "helm"), "NO_PROXY": "*", "no_proxy": "*"}

    def start(self):
        """Returns the seconds until it was Ready, without the making of images."""
        for name in ("pki", "cni", "kubelet", "containerd", "logs"):
            (HOME / name).mkdir(parents=True, exist_ok=True)
        archives = images.make(HOME / "images", BIN)
        started = time.monotonic()
        self._credentials()
        self._commands()
        self._configure()
        self.run("etcd", "containerd")
        wait_for("etcd answers", lambda: get("http://127.0.0.1:2379/health"), 20)
        self.run("kube-apiserver")
        self.ready()
        self.run("kube-controller-manager", "kube-scheduler")
        wait_for("containerd answers", lambda: self.ctr("version"), 20)
        for archive in archives:
            self.ctr("images", "import", archive)
        for image in self.ctr("images", "ls", "-q").split():
            if image.startswith("127.0.0.1:"):  # the registry through which it came
                self.ctr("images", "tag", "--force", image, "localhost/" + image.partition("/")[2])
        self.run("kubelet")
        wait_for("the node is Ready", lambda: "True" in self.kubectl(
            "get", "node", "n1", "-o", "jsonpath={.status.conditions[?(@.type=='Ready')].status}"), 60)
        wait_for("the default ServiceAccount", lambda: self.kubectl("get", "serviceaccount", "default", "-o", "name"), 20)
        return time.monotonic() - started

    def ready(self):
        """Waits until the API server answers /readyz."""
        wait_for("the API server is ready", lambda: self.kubectl("get", "--raw", "/readyz"), 60)

    def run(self, *names):
        for name in names:
            with (HOME / "logs" / name).open("ab") as log:
                self.processes[name] = subprocess.Popen(
                    [str(part) for part in self.commands[name]], cwd=HOME, stdin=subprocess.DEVNULL, stdout=log,
                    stderr=subprocess.STDOUT, env=os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}"})

    def kill(self, name):
        """SIGKILL: as a machine that lost its power."""
        self.processes[name].kill()
        self.processes[name].wait()

    def stop(self):
        """Ends in an order that leaves kubelet no work; `sweep` takes what does not end."""
        for name in ("cert-manager", "kubelet", "kube-scheduler", "kube-controller-manager", "kube-apiserver", "etcd"):
            if name in self.processes:
                self.kill(name)

    def kubectl(self, *arguments, input=None, timeout=60):
        """Standard output; what kubectl says on an error becomes an OSError, which `wait_for` waits out."""
        return self.command("kubectl", *arguments, input=input, timeout=timeout)

    def helm(self, *arguments, timeout=150):
        return self.command("helm", *arguments, timeout=timeout)

    def ctr(self, *arguments):
        return self.command("ctr", "-a", HOME / "containerd/c.sock", "-n", "k8s.io", *arguments)

    def command(self, program, *arguments, input=None, timeout=60):
        """Runs one of the built programs against this node; a failure is an OSError with what it said."""
        line = f"{program} {' '.join(map(str, arguments))}"
        try:
            done = subprocess.run([str(BIN / program), *map(str, arguments)], env=self.environment(), text=True, input=input,
                                  capture_output=True, timeout=timeout)
        except subprocess.TimeoutExpired as error:
            raise OSError(f"{line}: not within {timeout} s") from error
        if done.returncode:
            raise OSError(f"{line}: {done.stderr.strip()} {done.stdout.strip()}")
        return done.stdout

    def asked(self, account):
        """What a ServiceAccount, `NAMESPACE:NAME`, asked of the API server so far: the audit's entries."""
        log = HOME / "audit.log"
        entries = map(json.loads, log.read_text().splitlines() if log.exists() else [])
        return [entry for entry in entries if entry["user"]["username"] == f"system:serviceaccount:{account}"]

    def _credentials(self):
        authority = Pki(HOME / "pki")
        authority.leaf("apiserver", "/CN=kube-apiserver", f"IP:{ADDRESS},IP:127.0.0.1,IP:{SERVICE},DNS:kubernetes.default.svc", "serverAuth")
        authority.leaf("admin", "/O=system:masters/CN=admin", "DNS:admin", "clientAuth")
        authority.leaf("node", "/O=system:nodes/CN=system:node:n1", "DNS:n1", "clientAuth")
        authority.leaf("kubelet", "/CN=n1", f"IP:{ADDRESS},DNS:n1", "serverAuth")
        authority.openssl("genrsa", "-out", "sa.key", "2048")
        authority.openssl("rsa", "-in", "sa.key", "-pubout", "-out", "sa.pub")
        for name in ("admin", "node"):
            (HOME / f"{name}.conf").write_text(
                "apiVersion: v1\nkind: Config\n"
                f"clusters: [{{name: c, cluster: {{server: '{API}', certificate-authority: {HOME}/pki/ca.crt}}}}]\n"
                f"users: [{{name: u, user: {{client-certificate: {HOME}/pki/{name}.crt, client-key: {HOME}/pki/{name}.key}}}}]\n"
                "contexts: [{name: x, context: {cluster: c, user: u}}]\ncurrent-context: x\n")

    def _commands(self):
        etc = HOME / "pki"
        managers = ["--kubeconfig=admin.conf", "--authentication-kubeconfig=admin.conf", "--authorization-kubeconfig=admin.conf",
                    "--bind-address=127.0.0.1", "--secure-port=0", "--leader-elect=false"]
        self.commands = {
            "etcd": [BIN / "etcd", "--name", "t", "--data-dir", "etcd", "--unsafe-no-fsync", "--log-level", "warn"],
            "kube-apiserver": [
                BIN / "kube-apiserver", "--etcd-servers=http://127.0.0.1:2379", "--bind-address=0.0.0.0",
                f"--advertise-address={ADDRESS}", "--secure-port=443", f"--tls-cert-file={etc}/apiserver.crt",
                f"--tls-private-key-file={etc}/apiserver.key", f"--client-ca-file={etc}/ca.crt",
                f"--kubelet-client-certificate={etc}/admin.crt", f"--kubelet-client-key={etc}/admin.key",
                f"--kubelet-certificate-authority={etc}/ca.crt", "--kubelet-preferred-address-types=InternalIP",
                "--service-account-issuer=https://kubernetes.default.svc", f"--service-account-key-file={etc}/sa.pub",
                f"--service-account-signing-key-file={etc}/sa.key", "--authorization-mode=Node,RBAC",
                "--service-cluster-ip-range=10.96.0.0/16", "--endpoint-reconciler-type=none", "--allow-privileged=true",
                "--audit-policy-file=audit.yaml", "--audit-log-path=audit.log", "--audit-log-mode=blocking"],
            "kube-controller-manager": [
                BIN / "kube-controller-manager", *managers, f"--service-account-private-key-file={etc}/sa.key",
                f"--root-ca-file={etc}/ca.crt"],
            "cert-manager": [BIN / "cert-manager", "--kubeconfig=admin.conf"],
            "kube-scheduler": [BIN / "kube-scheduler", *managers],
            "containerd": [BIN / "containerd", "-c", "containerd.toml"],
            "kubelet": [BIN / "kubelet", "--kubeconfig=node.conf", "--config=kubelet.yaml", f"--root-dir={HOME}/kubelet",
                        "--hostname-override=n1", f"--node-ip={ADDRESS}"],
        }

    def _configure(self):
        here = pathlib.Path(__file__).parent
        # cgroup v1: a root of our own, so that the kubelet of another working copy does not take our pods for its orphans.
        root = ""
        if not (CGROUPS / "cgroup.controllers").exists():
            root = f"cgroupRoot: /{NAME}"
            for controller in (folder for folder in CGROUPS.iterdir() if folder.is_dir() and not folder.is_symlink()):
                (controller / NAME).mkdir(exist_ok=True)
            for file in ("cpuset.cpus", "cpuset.mems"):  # a new group of cpuset has none, and nothing can run there
                (CGROUPS / "cpuset" / NAME / file).write_text((CGROUPS / "cpuset" / file).read_text())
        for name in ("containerd.toml", "kubelet.yaml", "audit.yaml", "cni.json"):
            text = (here / "etc" / name).read_text()
            for word, value in (("@HOME@", HOME), ("@ADDRESS@", ADDRESS), ("@PODS@", PODS), ("@CGROUP_ROOT@", root)):
                text = text.replace(word, str(value))
            (HOME / {"cni.json": "cni/10-pods.conflist"}.get(name, name)).write_text(text)


NODE = Node()  # the one of this run: run.py starts it, all tests use it
