"""A server on this machine or behind a link, and the commands that it received."""

import collections
import contextlib
import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path

from .processes import Failure

SCRIPTS = Path(__file__).resolve().parent.parent
USER, PASSWORD = "ftpfs-test", "ftpfs-test-secret"
# vsftpd's log contains more than commands. In the other logs, each line is a command.
VSFTPD_COMMAND = re.compile(r'FTP command: Client "[^"]*", "([^" ]+)')
DATA_CONNECTIONS = ("EPSV", "PASV", "EPRT", "PORT")


@dataclasses.dataclass
class Server:
    """A running server."""

    # As in scripts/ftpd, or `embedded`.
    kind: str
    address: str
    port: int
    # The authority of its certificate, if it uses TLS.
    authority: str | None
    # The log of the commands it received, if it writes one.
    log: Path | None
    # The command prefix that starts another server beside it.
    there: list = dataclasses.field(default_factory=list)
    # The SSH server beside it, if there is one.
    ssh: object = None

    @property
    def url(self):
        return f"ftp://{USER}:{PASSWORD}@{self.address}:{self.port}"

    def written(self):
        """The current length of its log."""
        return self.log.stat().st_size if self.log else 0

    def lines_since(self, position):
        if self.log is None:
            return []
        with open(self.log, "rb") as log:
            log.seek(position)
            return log.read().decode(errors="replace").splitlines()

    def asked_since(self, position):
        """The number of each command that it received; empty if it writes no log."""
        counted = collections.Counter()
        for line in self.lines_since(position):
            if verb := verb_of(line):
                counted[verb] += 1
        return dict(counted)


def verb_of(line):
    if match := VSFTPD_COMMAND.search(line):
        return match.group(1).upper()
    if "[pid " in line or not line:
        return None
    return line.split()[0].upper()


def connections(asked):
    """The number of sessions that logged in."""
    return asked.get("USER", 0)


def data_connections(asked):
    return sum(asked.get(verb, 0) for verb in DATA_CONNECTIONS)


@contextlib.contextmanager
def started(command, environment=None, log=None):
    """Starts a program that prints its address in one line and ends when its input closes."""
    process = subprocess.Popen(
        [str(word) for word in command], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
    )
    try:
        told = process.stdout.readline()
        if not told:
            raise Failure(f"{command[0]} did not start")
        yield process, told
    finally:
        process.stdin.close()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def link(rtt, rate):
    """A network namespace behind a link: the command prefix that starts a program there, and its address."""
    with started([SCRIPTS / "wan", f"rtt={rtt}", f"rate={rate}"]) as (_, told):
        told = json.loads(told)
        yield ["nsenter", f"--net=/proc/{told['pid']}/ns/net"], told["address"]


@contextlib.contextmanager
def server(kind, root, ftpfs, rtt=0, rate=0, tls=False):
    """A server for the duration of the block, on 127.0.0.1 or `rtt` ms away."""
    with contextlib.ExitStack() as stack:
        there, address = stack.enter_context(link(rtt, rate)) if rtt else ([], "127.0.0.1")
        environment = {**os.environ, "FTPFS_PASSWORD": PASSWORD, "FTPFS_SERVER_ADDRESS": address}
        if kind == "embedded":
            command = [ftpfs, "serve", root, "--user", USER, "--listen", f"{address}:0"]
        else:
            command = [sys.executable, SCRIPTS / "ftpd", "run", kind, "--root", root]
            command += ["--tls", "required"] if tls else []
        # The embedded server logs every session.
        log = subprocess.DEVNULL if kind == "embedded" else None
        process, told = stack.enter_context(started([*there, *command], environment, log))
        if kind == "embedded":
            # It does not react when its input closes.
            stack.callback(process.terminate)
            yield Server(kind, address, int(told.strip().rstrip("/").rpartition(":")[2]), None, None, there)
            return
        told = json.loads(told)
        log = Path(told["commands"]) if "commands" in told else None
        yield Server(kind, address, told["port"], told.get("ca"), log, there)
