"""Running programs to their end, and what a running one has used."""

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
    """Something the user should read, without a traceback."""


@dataclasses.dataclass
class Done:
    """How a program ended."""

    seconds: float
    output: str
    # It was ended because it took longer than it may.
    is_over: bool = False


def run(*command, limit=300, **options):
    """Runs a command to its end, or ends it and all it has started after `limit` seconds."""
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
    """Between fork and exec: whatever ends this program, the new one gets that signal then."""
    LIBC.prctl(PR_SET_PDEATHSIG, number)


def end_group(process):
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def peak_mb(pid):
    """Largest resident memory of a process so far."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")) / 1000


def cpu_seconds(pid):
    """Seconds of a core that a process has used so far, in the kernel too."""
    # Behind the name, which may hold anything, utime and stime are the fields 14 and 15 of proc_pid_stat(5).
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
