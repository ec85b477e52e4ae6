"""Runs programs, and reads the resource usage of processes."""

import contextlib
import ctypes
import dataclasses
import os
import signal
import subprocess
import time
from pathlib import Path


PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)


class Failure(Exception):
    """An error to show to the user without a traceback."""


@dataclasses.dataclass
class Done:
    """The outcome of a program."""

    seconds: float
    output: str
    # It was stopped because it exceeded its time limit.
    is_over: bool = False


def run(*command, limit=300, **options):
    """Runs a command. After `limit` seconds, kills it and every process that it started."""
    command = [str(word) for word in command]
    began = time.monotonic()
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        preexec_fn=lambda: end_with_parent(signal.SIGKILL), **options,
    )  # fmt: skip
    try:
        output, complaint = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        end_group(process)
        return Done(time.monotonic() - began, "", True)
    except BaseException:
        end_group(process)
        raise
    took = time.monotonic() - began
    if process.returncode:
        words = complaint.decode(errors="replace").strip().splitlines() or [f"ended with {process.returncode}"]
        raise Failure(f"{' '.join(command)[:200]}: {words[0][:300]}")
    return Done(took, output.decode(errors="replace"))


def end_with_parent(number):
    """Called between fork and exec: the new process gets this signal when its parent ends, for whatever reason."""
    LIBC.prctl(PR_SET_PDEATHSIG, number)


def end_group(process):
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def family(pid):
    """A process and all processes that it and they started."""
    children = []
    # A thread or process may end in the meantime.
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                children += (task / "children").read_text().split()
    return [pid, *(inner for child in children for inner in family(int(child)))]


def total(pid, figure):
    """The sum of `figure(pid)` over a process and all processes below it."""
    found = 0
    for member in family(pid):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found += figure(member)
    return found


def peak_mb(pid):
    """The peak resident memory of a process so far, in MB."""
    status = Path(f"/proc/{pid}/status").read_text()
    # A process that has ended but was not waited for has none.
    return next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")), 0) / 1000


def cpu_seconds(pid):
    """The CPU seconds of a process so far, in user and kernel mode."""
    # utime and stime are fields 14 and 15 of proc_pid_stat(5). The name before them can contain any character.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
