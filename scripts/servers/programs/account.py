"""How a server's process becomes its account."""

import ctypes
import os
import signal

PR_SET_PDEATHSIG = 1


def become(settings):
    """Changes to the account for good. scripts/ftpd is still the parent whose death ends this process."""
    os.umask(0o022)
    os.setgroups([])
    os.setgid(settings["gid"])
    os.setuid(settings["uid"])
    # The kernel forgets this setting when a process changes its user.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def open_log(settings):
    """The file for the commands, one a line."""
    return os.open(settings["commands"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


def log_command(log, line):
    """Writes down a command, a PASS without its argument, in one write so that lines stay whole."""
    verb = line.split(" ", 1)[0]
    told = verb if verb.upper() == "PASS" else line
    os.write(log, told.encode("utf-8", "surrogateescape") + b"\n")
