"""The programs to compare: FTP clients and mounts."""

import contextlib
import dataclasses
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

from . import gvfs
from .processes import Failure, cpu_seconds, end_with_parent, peak_mb, run, total
from .servers import PASSWORD, USER

MOUNT_SECONDS = 30
# What scripts/need installs; by default, the package has the program's name.
PACKAGES = {"sshfs": ("sshfs=sshfs", "ssh-keygen=openssh-client", "setpriv=util-linux"), "gvfs": gvfs.PACKAGES}
# The variants of ftpfs, which must complete every workload.
OURS = ("ftpfs", "ftpfs writeback", "ftpfs names", "ftpfs direct_io")


@dataclasses.dataclass
class Program:
    """A program to measure. A mount has `start`, which takes server, place, mountpoint and log."""

    name: str
    start: object = None
    # Selects its workloads: in all others, it does not differ from another variant.
    only: object = None
    # Over a link, it processes the sample only.
    is_sampled: bool = False
    # Workloads that it does completely all the same: it waits once, which weighs too much on a sample.
    complete: tuple = ()
    # Returns the directory of the server's files, given server and mountpoint; by default, the mountpoint.
    inside: object = lambda server, mnt: mnt

    @property
    def is_mount(self):
        return self.start is not None

    def can(self, work):
        if self.is_mount:
            return self.only is None or self.only(work)
        return self.name in work.wire


def way(ours):
    """The suffix of the workload's name for this variant of ftpfs."""
    option = ours.removeprefix("ftpfs").strip()
    return f", {option}" if option else ""


def known(ftpfs, beside, peers, is_day=False):
    """All programs that are available on this machine, in the order in which they run.

    For a day's work, rclone has its default delay.
    """
    delay, complete = ("5s", ("untar", "small-write")) if is_day else ("0s", ())
    mounts = {
        "rclone": Program("rclone", rclone("off", delay), is_sampled=True),
        "rclone full": Program("rclone full", rclone("full", delay), is_sampled=True, complete=complete),
        "curlftpfs": Program("curlftpfs", start_curlftpfs, is_sampled=True),
        "sshfs": Program("sshfs", start_sshfs, is_sampled=True),
        "gvfs": Program("gvfs", start_gvfs, is_sampled=True, inside=gvfs.inside),
    }
    if not shutil.which("curlftpfs"):
        del mounts["curlftpfs"]
    chosen = [mounts.get(name) or Program(name) for name in peers if name != "curlftpfs" or name in mounts]
    chosen.append(Program("ftpfs", mount_of(ftpfs)))
    chosen.append(Program("ftpfs writeback", mount_of(ftpfs, "writeback"), only=lambda work: work.stores or work.is_day))
    chosen.append(Program("ftpfs names", mount_of(ftpfs, "writeback=names"), only=lambda work: work.is_day))
    chosen.append(Program("ftpfs direct_io", mount_of(ftpfs, "direct_io"), only=lambda work: work.key == "large-read"))
    if beside:
        chosen.append(Program("beside", mount_of(beside)))
    return chosen


def mount_of(ftpfs, *more):
    def start(server, place, mnt, log):
        secured = ["tls", f"cafile={server.authority}"] if server.authority else []
        options = [option for word in (*secured, *more) for option in ("-o", word)]
        # A separate state directory, so that no other mount recovers anything from it.
        environment = {**os.environ, "FTPFS_PASSWORD": PASSWORD, "XDG_STATE_HOME": str(place.local / "state")}
        source = f"ftp://{USER}@{server.address}:{server.port}/"
        return spawn([ftpfs, "-f", *options, source, mnt], environment, log)

    return start


def rclone_environment(server):
    obscured = run("rclone", "obscure", PASSWORD).output.strip()
    settings = {"HOST": server.address, "PORT": str(server.port), "USER": USER, "PASS": obscured}
    if server.authority:
        # With TLS 1.3, rclone 1.60 resumes sessions in a way that OpenSSL rejects ("illegal parameter").
        settings |= {"EXPLICIT_TLS": "true", "NO_CHECK_CERTIFICATE": "true", "DISABLE_TLS13": "true"}
    return {**os.environ, **{f"RCLONE_FTP_{name}": value for name, value in settings.items()}}


def rclone(cache, delay):
    def start(server, place, mnt, log):
        kept = place.local / "rclone-cache"
        shutil.rmtree(kept, ignore_errors=True)
        command = ["rclone", "mount", ":ftp:", mnt, "--config", "/dev/null", "--vfs-cache-mode", cache]
        # By default, rclone waits five seconds before it starts to upload. Without that, a file that is renamed in the
        # meantime can end up under its old name.
        command += ["--vfs-write-back", delay, "--cache-dir", kept]
        if server.kind == "vsftpd":
            # It hides the names that begin with a dot, without which git finds no repository.
            command.append("--ftp-force-list-hidden")
        return spawn(command, rclone_environment(server), log)

    return start


def start_curlftpfs(server, place, mnt, log):
    command = ["curlftpfs", "-f", f"{server.address}:{server.port}", mnt, "-o", f"user={USER}:{PASSWORD}"]
    return spawn(command, os.environ, log)


def start_sshfs(server, place, mnt, log):
    # The server's account owns the files there, and the user of the mount owns them here.
    command = ["sshfs", "-f", f"{USER}@{server.address}:{place.root}", mnt, "-o", "idmap=user", *server.ssh.options()]
    return spawn(command, os.environ, log)


def start_gvfs(server, place, mnt, log):
    return spawn(gvfs.command(server, mnt), gvfs.environment(place), log)


def spawn(command, environment, log):
    command = [str(word) for word in command]
    # On SIGTERM, each of them unmounts.
    return subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        preexec_fn=lambda: end_with_parent(signal.SIGTERM),
    )  # fmt: skip


@dataclasses.dataclass
class Mounted:
    """An active mount, and the resource usage of its processes."""

    path: Path
    process: subprocess.Popen

    def cpu_seconds(self):
        return total(self.process.pid, cpu_seconds)

    def peak_mb(self):
        return total(self.process.pid, peak_mb)


@contextlib.contextmanager
def mounted(program, server, place):
    """A new mount for the duration of the block."""
    mnt = place.local / "mnt"
    mnt.mkdir(exist_ok=True)
    with open(place.local / "mount.log", "w+") as log:
        process = program.start(server, place, mnt, log)
        try:
            inside = program.inside(server, mnt)
            wait_until_mounted(mnt, process, log, inside)
            yield Mounted(inside, process)
        finally:
            unmount(mnt, process)


def is_mounted(mnt):
    return f" {mnt} " in Path("/proc/self/mountinfo").read_text()


def wait_until_mounted(mnt, process, log, inside=None):
    deadline = time.monotonic() + MOUNT_SECONDS
    while not is_mounted(mnt) or not (inside or mnt).is_dir():
        if process.poll() is not None or time.monotonic() > deadline:
            log.seek(0)
            raise Failure(f"{process.args[0]} did not mount: {log.read().strip()[-500:]}")
        time.sleep(0.002)


def unmount(mnt, process):
    deadline = time.monotonic() + MOUNT_SECONDS
    while is_mounted(mnt) and subprocess.run(["umount", mnt], capture_output=True).returncode:
        if time.monotonic() > deadline or process.poll() is not None:
            subprocess.run(["umount", "-l", mnt], capture_output=True)
        time.sleep(0.05)
    try:
        process.wait(MOUNT_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
