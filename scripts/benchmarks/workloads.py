"""The workloads: the command of each kind of program, and what the server must have afterwards."""

import sys

from . import day
from .place import LEVELS, SMALL_BYTES, STREAMS
from .servers import PASSWORD, USER
from .work import Work, whole

# As many as ftpfs opens by default.
PARALLEL = 8
# Measures its own time, without the start of the interpreter.
RANDOM_READS = f"""
import os, random, sys, time
file = os.open(sys.argv[1], os.O_RDONLY)
blocks, choice = os.fstat(file).st_size // {SMALL_BYTES}, random.Random(int(sys.argv[2]))
began = time.monotonic()
for _ in range(int(sys.argv[2])):
    assert len(os.pread(file, {SMALL_BYTES}, choice.randrange(blocks) * {SMALL_BYTES})) == {SMALL_BYTES}
print(time.monotonic() - began)
"""


def works(place, server):
    """All workloads for one server."""
    usual = [*large_files(place, server), *small_files(place, server), *trees(place, server), *programs(place, server)]
    return [*usual, *special(place), *day.works(place)]


def lftp(server, script):
    secured = f"set ftp:ssl-force true; set ftp:ssl-protect-data true; set ssl:ca-file {server.authority}; "
    return ["lftp", "-c", f"{secured if server.authority else ''}set net:max-retries 3; open -u {USER},{PASSWORD} ftp://{server.address}:{server.port}; {script}"]


def curl(server, *words):
    secured = ["--ssl-reqd", "--cacert", server.authority] if server.authority else []
    return ["curl", "-sS", *secured, *words]


def large_files(place, server):
    local, out, mib = place.local, place.local / "out", place.large_mib
    readers = "for file in {0}/streams/*; do dd if=$file of=/dev/null bs=1M status=none & done; wait"
    return [
        Work(
            "large-read", "read one large file", "file", whole(1), mib=mib,
            mounted=lambda mnt, part: ["dd", f"if={mnt}/{place.big}", "of=/dev/null", "bs=1M"],
            wire={
                "curl": lambda part: curl(server, "-o", "/dev/null", f"{server.url}/{place.big}"),
                "lftp": lambda part: lftp(server, f"pget -n {PARALLEL} {place.big} -o {out}/big"),
            },
        ),
        Work(
            "large-write", "write one large file", "file", whole(1), mib=mib,
            # dd duplicates its output and closes the original: the file is stored while empty.
            mounted=lambda mnt, part: ["cp", local / place.big, f"{mnt}/in/{place.big}"],
            wire={
                "curl": lambda part: curl(server, "-T", local / place.big, f"{server.url}/in/{place.big}"),
                "lftp": lambda part: lftp(server, f"put {local}/{place.big} -o in/{place.big}"),
            },
            stores=lambda part: place.big,
        ),
        Work(
            "streams", f"{STREAMS} parallel readers of {place.sizes.stream} MiB each", "file", whole(STREAMS),
            mib=STREAMS * place.sizes.stream,
            mounted=lambda mnt, part: ["sh", "-c", readers.format(mnt)],
            wire={"lftp": lambda part: lftp(server, f"mirror --parallel={PARALLEL} streams {out}/streams")},
        ),
        Work(
            "random", f"random reads of 4 KiB in {place.sizes.random_mib} MiB", "read",
            {"all": place.sizes.random, "sample": place.sizes.random_sample}, tells_time=True,
            mounted=lambda mnt, part: [
                sys.executable, "-c", RANDOM_READS, f"{mnt}/random",
                str(place.sizes.random if part == "all" else place.sizes.random_sample),
            ],
        ),
    ]  # fmt: skip


def small_files(place, server):
    local, out = place.local, place.local / "out"
    items = {"all": place.sizes.small, "sample": place.sizes.small_sample}
    return [
        Work(
            "small-read", "read small files, one by one", "file", items,
            mounted=lambda mnt, part: ["sh", "-c", f"cat {mnt}/{part}/small/* >/dev/null"],
            wire={"lftp": lambda part: lftp(server, f"mirror --parallel={PARALLEL} {part}/small {out}/small")},
        ),
        Work(
            "small-write", "write small files, one by one", "file", items,
            mounted=lambda mnt, part: ["cp", "-r", local / part / "small", f"{mnt}/in/small"],
            wire={"lftp": lambda part: lftp(server, f"mirror -R --parallel={PARALLEL} {local}/{part}/small in/small")},
            stores=lambda part: f"{part}/small",
        ),
    ]  # fmt: skip


def trees(place, server):
    directories = {"all": place.sizes.directories + 1, "sample": place.sizes.directories_sample + 1}
    walk = {"mounted": lambda mnt, part: ["find", f"{mnt}/{part}/tree"]}
    return [
        Work(
            "walk", "walk a tree", "directory", directories, sampled=("lftp",), **walk,
            wire={
                "lftp": lambda part: lftp(server, f"find {part}/tree"),
                "rclone lsf": lambda part: ["rclone", "lsf", "-R", f":ftp:{part}/tree", "--config", "/dev/null"],
            },
        ),
        Work("walk-warm", "walk it again", "directory", directories, is_warm=True, **walk),
        Work("mount", "mount", "mount", whole(1), has_mount=True, mounted=lambda mnt, part: ["stat", mnt]),
        Work(
            "deep", f"look up a path {LEVELS} directories deep", "path", whole(1),
            mounted=lambda mnt, part: ["stat", f"{mnt}/{place.deep}"],
            wire={"curl": lambda part: curl(server, "--ftp-method", "nocwd", "-I", f"{server.url}/{place.deep}")},
        ),
        Work(
            "many", f"ls -l of {place.sizes.many:,} files", "directory", whole(1),
            mounted=lambda mnt, part: ["ls", "-l", f"{mnt}/many"],
            wire={
                "curl": lambda part: curl(server, "-o", "/dev/null", f"{server.url}/many/"),
                "lftp": lambda part: lftp(server, "ls many"),
            },
        ),
    ]  # fmt: skip


def programs(place, server):
    local = place.local
    return [
        Work(
            "untar", "untar a source tree", "file", {"all": place.sizes.source, "sample": place.sizes.source_sample},
            mounted=lambda mnt, part: ["tar", "-xf", local / part / "source.tar", "--no-same-owner", "-C", f"{mnt}/in"],
            wire={"lftp": lambda part: lftp(server, f"mirror -R --parallel={PARALLEL} {local}/{part}/source in/source")},
            stores=lambda part: f"{part}/source",
        ),
        Work(
            "git", "git status", "file", whole(place.sizes.repository),
            before=lambda part: place.put("repository", "repository"),
            mounted=lambda mnt, part: ["git", "-c", "safe.directory=*", "-C", f"{mnt}/in/repository", "status", "--short"],
        ),
    ]  # fmt: skip


def special(place):
    big, mib = place.local / place.big, place.large_mib
    return [
        Work(
            "again", "read the large file again", "file", whole(1), mib=mib, is_warm=True, is_special=True,
            mounted=lambda mnt, part: ["dd", f"if={mnt}/{place.big}", "of=/dev/null", "bs=1M"],
        ),
        Work(
            "sizes", f"find -size in {place.sizes.many:,} files", "directory", whole(1), is_special=True,
            mounted=lambda mnt, part: ["find", f"{mnt}/many", "-size", "+1"],
        ),
        Work(
            "names", f"find -name in {place.sizes.many:,} files", "directory", whole(1), is_special=True,
            mounted=lambda mnt, part: ["find", f"{mnt}/many", "-name", "*7.txt"],
        ),
        Work(
            "pieces", "write one large file in pieces of 4 KiB", "file", whole(1), mib=mib, is_special=True,
            mounted=lambda mnt, part: ["dd", f"if={big}", f"of={mnt}/in/{place.big}", "bs=4k"],
            stores=lambda part: place.big,
        ),
    ]  # fmt: skip
