"""The life of one server process and its sessions, from its port to its end."""

import contextlib
import ctypes
import os
import random
import signal
import socket
import subprocess
import time
from pathlib import Path

from servers.common import ADDRESS, PASSWORD, USER, Failure

# Above the ports of known services, below those the kernel gives to outgoing connections.
PORTS = range(20000, 30000)
GREETING_SECONDS = 20
# How long a killed server may wait for its port.
PORT_SECONDS = 20
ENDING_SECONDS = 10
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36


class Life:
    """A server that can be killed and started again."""

    def __init__(self, name, kind, wanted):
        self.name, self.kind, self.wanted, self.server = name, kind, wanted, None
        self.was_killed = False

    def start(self):
        # While it was away, a data connection of another server may have taken its port.
        deadline = time.monotonic() + PORT_SECONDS
        while self.server is None:
            try:
                self.try_start()
            except Failure:
                if not self.was_killed or self.is_as_wanted() or time.monotonic() > deadline:
                    raise
                self.server = None
                time.sleep(0.1)

    def try_start(self):
        environment = self.wanted.tls.environment() if self.wanted.tls else {}
        if self.wanted.zone:
            environment["TZ"] = self.wanted.zone
        account = self.wanted.account if self.kind.runs_as_account else None
        self.server = start(self.kind.command(self.wanted), self.wanted.state / "output", environment, account)
        wait_for_greeting(self.name, self.wanted, self.server)

    def kill(self):
        if self.server is not None:
            end_all(self.server)
            self.server = None
            self.was_killed = True

    def is_as_wanted(self):
        return self.server is None or self.server.poll() is None

    def bury(self):
        """Sessions whose parent has gone are ours to wait for."""
        ours = set() if self.server is None else {self.server.pid}
        for session in children(os.getpid()) - ours:
            os.waitpid(session, os.WNOHANG)

    def signal_all(self, number):
        for process in descendants(os.getpid()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, number)

    def obey(self, line):
        commands = {
            "kill": self.kill,
            "start": self.start,
            "freeze": lambda: self.signal_all(signal.SIGSTOP),
            "thaw": lambda: self.signal_all(signal.SIGCONT),
        }
        if line not in commands:
            raise Failure(f"{line}: not one of {', '.join(commands)}")
        commands[line]()


@contextlib.contextmanager
def free_port():
    """A port nothing listens on, kept from every other run of this script on the machine."""
    for port in random.sample(PORTS, len(PORTS)):
        with socket.socket(socket.AF_UNIX) as claim, socket.socket() as trial:
            try:
                # In the abstract namespace: gone with this process, whatever ends it.
                claim.bind(f"\0ftpfs-test-port-{port}")
                trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                trial.bind((ADDRESS, port))
            except OSError:
                continue
            trial.close()
            yield port
            return
    raise Failure("no free port")


def wake_on(*signals):
    """A descriptor that becomes readable with the numbers of the signals that came."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    for number in signals:
        signal.signal(number, lambda *_: None)
    return reader


def start(command, output, environment, account):
    """Starts a server in a group of its own that dies with this process; sessions that it abandons become ours.

    It runs as the account where one is given. The pipe that is its standard input closes when this process ends."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1)
    command = [str(word) for word in command]

    def prepare():
        if account:
            os.umask(0o022)
            os.setgroups([])
            os.setgid(account.pw_gid)
            os.setuid(account.pw_uid)
        # After the change of the user, at which the kernel forgets it.
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

    environment = {**os.environ, "TZ": "UTC", "PYTHONDONTWRITEBYTECODE": "1", "FTPFS_TEST_USER": USER, "FTPFS_TEST_PASSWORD": PASSWORD, **environment}
    with open(output, "w") as log, opened(command[0], account) as program:
        return subprocess.Popen(
            command,
            executable=program and f"/proc/self/fd/{program}",
            pass_fds=[program] if program else [],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=environment,
            preexec_fn=prepare,
        )


@contextlib.contextmanager
def opened(path, account):
    """A descriptor to run the program by: the account may not search the directories above it. None without account."""
    if account is None:
        yield None
        return
    program = os.open(path, os.O_PATH)
    try:
        yield program
    finally:
        os.close(program)


def wait_for_greeting(name, wanted, server):
    deadline = time.monotonic() + GREETING_SECONDS
    while server.poll() is None and time.monotonic() < deadline:
        try:
            with socket.create_connection((ADDRESS, wanted.port), 5) as plain, secured(plain, wanted.tls) as control:
                replies = control.makefile("rb")
                if replies.readline().startswith(b"220"):
                    control.sendall(b"QUIT\r\n")
                    replies.read()
                    break
        except OSError:
            time.sleep(0.02)
    else:
        raise Failure(f"{name} does not greet on port {wanted.port}: {output_of(wanted.state)}")
    # Until its process has ended, that session counts against the server's limits.
    while any(map(is_running, children(server.pid))) and time.monotonic() < deadline:
        time.sleep(0.005)


def secured(control, tls):
    """The connection, in TLS where that begins before the greeting."""
    if tls is None or tls.mode != "implicit":
        return control
    return tls.client().wrap_socket(control, server_hostname=ADDRESS)


def output_of(state):
    return (state / "output").read_text(errors="replace").strip()[-800:] or "it printed nothing"


def end_all(server):
    """Ends the server, its group and every session that left the group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
    deadline = time.monotonic() + ENDING_SECONDS
    while time.monotonic() < deadline:
        for child in children(os.getpid()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        try:
            if os.waitpid(-1, os.WNOHANG) == (0, 0):
                time.sleep(0.005)
        except ChildProcessError:
            return


def children(parent):
    """Also those that ended and wait to be told of; of a parent that has gone, none."""
    try:
        return {int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()}
    except FileNotFoundError:
        return set()


def descendants(parent):
    for child in children(parent):
        yield child
        yield from descendants(child)


def is_running(pid):
    """Not ended, as a zombie has."""
    try:
        # The state stands behind the name, which may hold anything: proc_pid_stat(5).
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
