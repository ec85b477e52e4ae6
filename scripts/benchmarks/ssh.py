"""An SSH server beside the FTP server, for sshfs: the same files over the same link."""

import contextlib
import dataclasses
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from servers.common import unpacked
from servers.install import Package

from .processes import Failure, end_with_parent, run
from .servers import USER

PACKAGE = "openssh-server"
START_SECONDS = 10
# It runs as the server's account and therefore needs no PAM, no second account and no directory of the system. Sessions
# begin in the root, because sshfs takes the owner of that directory for the account.
CONFIGURATION = """ListenAddress {address}:{port}
HostKey {keys}/host
AuthorizedKeysFile {keys}/user.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
Subsystem sftp internal-sftp
ForceCommand internal-sftp -d {root}
"""


@dataclasses.dataclass
class Ssh:
    """A running SSH server, and the directory of the keys."""

    address: str
    port: int
    keys: Path

    def options(self):
        """The options of sshfs that make it independent of the user's configuration."""
        return [
            "-F", "none", "-o", f"port={self.port}", "-o", f"IdentityFile={self.keys}/user", "-o", "IdentitiesOnly=yes",
            "-o", f"UserKnownHostsFile={self.keys}/known", "-o", "StrictHostKeyChecking=no", "-o", "BatchMode=yes",
        ]  # fmt: skip


def install():
    """Unpacks the server without installing the package, which would start a service."""
    Package(PACKAGE).install()


@contextlib.contextmanager
def running(server, place):
    """An SSH server at the far end of the link for the duration of the block."""
    keys = place.local / "ssh"
    shutil.rmtree(keys, ignore_errors=True)
    keys.mkdir()
    for name in ("host", "user"):
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", keys / name)
    shutil.chown(keys / "host", USER)
    port = free_port()
    configuration = CONFIGURATION.format(address=server.address, port=port, keys=keys, root=place.root)
    (keys / "configuration").write_text(configuration)
    as_account = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "--pdeathsig=SIGTERM"]
    command = [*server.there, *as_account, unpacked(PACKAGE) / "usr/sbin/sshd", "-D", "-e", "-f", keys / "configuration"]
    with open(keys / "log", "w+") as log:
        process = subprocess.Popen(
            [str(word) for word in command], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            preexec_fn=lambda: end_with_parent(signal.SIGTERM),
        )  # fmt: skip
        try:
            wait_until_listening(server.address, port, process, keys / "log")
            yield Ssh(server.address, port, keys)
        finally:
            process.terminate()
            process.wait()


def free_port():
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as listening:
        return listening.getsockname()[1]


def wait_until_listening(address, port, process, log):
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            return socket.create_connection((address, port), 5).close()
        except OSError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                raise Failure(f"sshd does not listen: {log.read_text().strip()[-300:] or error}") from None
            time.sleep(0.01)
