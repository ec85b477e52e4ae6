"""How memory and time grow: with the files of a tree, the names of a directory, the programs, and the waiting uploads."""

import contextlib
import os
import resource
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from . import programs
from .processes import Failure, peak_mb, run
from .servers import PASSWORD, USER
from .table import lay_out

FILES_IN_DIRECTORY = 50
READERS, READ_BYTES = (1, 8, 64), 4096
# Longer than any measurement, so that only the mount's own work counts.
KEPT = ("dir_ttl=3600", "attr_ttl=3600", "open_ttl=3600")
LONGEST = 1800
# ftpfs uses half of its descriptors for waiting files. Some of them are in use otherwise.
OTHER_FILES = 200
# What ftpfs promises for the largest sizes (doc/performance.md), in MB.
TREE_MB, DIRECTORY_MB = 250, 300
# What a program does, in a process of its own: looks at every file of its directory and reads it.
READ_ALL = """
import os, sys
for entry in os.scandir(sys.argv[1]):
    with open(entry.path, "rb") as file:
        assert len(file.read()) == int(sys.argv[2])
"""


@contextlib.contextmanager
def mounted(ftpfs, server, place, *options):
    """A new mount and its process, for the duration of the block."""
    mnt = place.local / "mnt"
    mnt.mkdir(exist_ok=True)
    with open(place.local / "mount.log", "w+") as log:
        process = programs.mount_of(ftpfs, *options)(server, place, mnt, log)
        try:
            programs.wait_until_mounted(mnt, process, log)
            yield mnt, process
        finally:
            programs.unmount(mnt, process)


def resident_mb(process):
    status = Path(f"/proc/{process.pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:")) / 1000


def look_at_all(directory):
    """Looks at the attributes of every file, and returns the seconds."""
    return run("find", directory, "-type", "f", "-size", "+1000000", limit=LONGEST).seconds


def measure(options, server, place):
    """Prints a table for each kind of growth, and returns the targets: name, whether it was reached, limit."""
    largest = options.largest
    sizes = (largest // 100, largest // 10, largest)
    return [
        *trees(options.ftpfs, server, place, sizes),
        *directories(options.ftpfs, server, place, sizes),
        *side_by_side(options.ftpfs, server, place),
        *waiting(options.ftpfs, server, place, (largest // 10_000, largest // 1000, largest // 100)),
    ]


def trees(ftpfs, server, place, sizes):
    rows = []
    for files in sizes:
        top = place.root / f"tree-{files}"
        for number in range(files // FILES_IN_DIRECTORY):
            directory = top / f"upper-{number // 100}" / f"directory-{number}"
            directory.mkdir(parents=True)
            for inner in range(FILES_IN_DIRECTORY):
                (directory / f"file-{inner}").touch()
        with mounted(ftpfs, server, place, *KEPT) as (mnt, process):
            first = look_at_all(mnt / top.name)
            again = look_at_all(mnt / top.name)
            peak, after = peak_mb(process.pid), resident_mb(process)
        rows.append([f"{files:,}", f"{files // FILES_IN_DIRECTORY:,}", f"{first:.2f}", f"{again:.2f}", f"{peak:.0f}", f"{after:.0f}"])
        run("rm", "-rf", top, limit=LONGEST)
    print(lay_out(["files of a tree", "directories", "walk, s", "again, s", "peak MB", "MB after"], rows), end="\n\n")
    return [(f"{peak:.0f} MB for a tree of {files:,} files", peak < TREE_MB, TREE_MB)]


def directories(ftpfs, server, place, sizes):
    rows = []
    for names in sizes:
        directory = place.root / f"directory-{names}"
        directory.mkdir()
        for number in range(names):
            (directory / f"file-{number:07}").touch()
        (directory / f"file-{names - 1:07}").write_text("x")
        url = f"ftp://{USER}:{PASSWORD}@{server.address}:{server.port}/{directory.name}/"
        curl = run("curl", "-sS", "-o", place.local / "listing", url, limit=LONGEST).seconds
        with mounted(ftpfs, server, place, *KEPT) as (mnt, process):
            listed = run("ls", "-f", mnt / directory.name, limit=LONGEST).seconds
            looked = look_at_all(mnt / directory.name)
            began = time.monotonic()
            if (mnt / directory.name / f"file-{names - 1:07}").read_text() != "x":
                raise Failure("a file in a large directory has other contents")
            opened = time.monotonic() - began
            peak, after = peak_mb(process.pid), resident_mb(process)
        rows.append([
            f"{names:,}", f"{listed:.2f}", f"{curl:.2f}", f"{looked:.2f}", f"{opened * 1000:.1f}", f"{peak:.0f}", f"{after:.0f}",
        ])  # fmt: skip
        run("rm", "-rf", directory, limit=LONGEST)
    heads = ["names in a directory", "ls -f, s", "curl, s", "find -size, s", "read one, ms", "peak MB", "MB after"]
    print(lay_out(heads, rows), end="\n\n")
    return [(f"{peak:.0f} MB for a directory of {names:,} names", peak < DIRECTORY_MB, DIRECTORY_MB)]


def side_by_side(ftpfs, server, place):
    for number in range(max(READERS)):
        directory = place.root / "readers" / str(number)
        directory.mkdir(parents=True)
        for inner in range(FILES_IN_DIRECTORY):
            (directory / f"file-{inner}").write_bytes(os.urandom(READ_BYTES))
    rows = []
    for count in READERS:
        with mounted(ftpfs, server, place) as (mnt, process), ThreadPoolExecutor(count) as pool:
            commands = [[sys.executable, "-c", READ_ALL, mnt / "readers" / str(number), str(READ_BYTES)] for number in range(count)]
            began = time.monotonic()
            each = list(pool.map(lambda command: run(*command, limit=LONGEST).seconds, commands))
            seconds = time.monotonic() - began
            files = count * FILES_IN_DIRECTORY
            rows.append([str(count), f"{files / seconds:.0f}", f"{min(each):.2f}", f"{max(each):.2f}", f"{peak_mb(process.pid):.0f}"])
    heads = ["programs that read", "files a second", "first has ended, s", "last, s", "peak MB"]
    print(lay_out(heads, rows), end="\n\n")
    return []


def waiting(ftpfs, server, place, counts):
    rows = []
    _, descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = descriptors // 2 - OTHER_FILES
    counts = sorted({min(count, most) for count in counts})
    for count in counts:
        target = f"waiting-{count}"
        local = place.local / target
        local.mkdir()
        for number in range(count):
            (local / f"file-{number}").write_bytes(os.urandom(READ_BYTES))
        (place.root / target).mkdir()
        # At this rate, hardly any arrives.
        with mounted(ftpfs, server, place, "writeback=names", "limit_up=1K", *KEPT) as (mnt, process):
            copy = run("cp", "-r", f"{local}/.", mnt / target, limit=LONGEST).seconds
            memory = resident_mb(process)
            told = run(ftpfs, "status", "--json", mnt, limit=60)
            process.send_signal(signal.SIGKILL)
            process.wait()
            subprocess.run(["umount", "-l", mnt], check=False)
        began = time.monotonic()
        with mounted(ftpfs, server, place, "writeback=names") as (mnt, process):
            start = time.monotonic() - began
            wanted = {f"file-{number}" for number in range(count)}
            while set(os.listdir(place.root / target)) != wanted:
                if time.monotonic() - began > LONGEST:
                    raise Failure(f"not all of {count} files that a killed mount left are on the server")
                time.sleep(0.2)
            stored, peak = time.monotonic() - began, peak_mb(process.pid)
        run("diff", "-rq", local, place.root / target)
        rows.append([
            f"{count:,}", f"{copy:.2f}", f"{memory:.0f}", f"{told.seconds * 1000:.0f}", f"{len(told.output):,}", f"{start * 1000:.0f}",
            f"{stored:.1f}", f"{peak:.0f}",
        ])  # fmt: skip
    heads = [
        "waiting uploads", "cp, s", "MB", "status, ms", "status, bytes", "next mount, ms", "all stored, s", "its peak MB",
    ]  # fmt: skip
    print(lay_out(heads, rows), end="\n\n")
    return []
