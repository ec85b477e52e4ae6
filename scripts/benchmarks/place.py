"""The server's root directory, the local files to upload, and their contents before each workload."""

import contextlib
import dataclasses
import os
import shutil
import subprocess
import tarfile
import time
from pathlib import Path

from .processes import Failure, run
from .sizes import Sizes

SMALL_BYTES = 4096
FILES_IN_DIRECTORY = 10
STREAMS = 8
LEVELS = 6
MIB = 1 << 20
DAY = 86400
# Old enough for git to trust the times in its index. Midnight: a listing shows no more than the day of an old file, and the
# first `git status` on a mount enters what it shows in the index.
LONG_AGO = 1_699_920_000


@dataclasses.dataclass
class Place:
    """The directories of a run: `root` is the server's root directory on this machine, `local` holds local files."""

    root: Path
    local: Path
    sizes: Sizes
    rtt: int

    @property
    def is_far(self):
        return self.rtt > 0

    @property
    def large_mib(self):
        return self.sizes.large_far if self.is_far else self.sizes.large

    @property
    def big(self):
        """The name of the large file, on the server and locally."""
        return f"big-{self.large_mib}"

    @property
    def deep(self):
        """A file below six directories."""
        return "/".join(["deep", *(f"level-{number}" for number in range(2, LEVELS + 1)), "file"])

    def fill(self):
        """Creates the files to read and the files to write."""
        self.root.mkdir()
        self.local.mkdir()
        for mib in {self.sizes.large, self.sizes.large_far}:
            write_random(self.local / f"big-{mib}", mib)
            os.link(self.local / f"big-{mib}", self.root / f"big-{mib}")
        write_random(self.root / "random", self.sizes.random_mib)
        for part, small, directories, source in self.parts():
            (self.local / part).mkdir()
            (self.root / part).mkdir()
            write_small(self.local / part / "small", small)
            shutil.copytree(self.local / part / "small", self.root / part / "small")
            grow_tree(self.root / part / "tree", directories)
            write_source(self.local / part, source)
        (self.root / "many").mkdir()
        for number in range(self.sizes.many):
            (self.root / "many" / f"file-{number:05}.txt").touch()
        (self.root / "streams").mkdir()
        for number in range(STREAMS):
            write_random(self.root / "streams" / str(number), self.sizes.stream)
        (self.root / self.deep).parent.mkdir(parents=True)
        (self.root / self.deep).write_bytes(os.urandom(SMALL_BYTES))
        make_repository(self.local / "repository", self.sizes.repository)
        (self.root / "in").mkdir()
        (self.local / "out").mkdir()
        run("chown", "-R", "ftpfs-test:", self.root)

    def parts(self):
        sizes = self.sizes
        yield "all", sizes.small, sizes.directories, sizes.source
        yield "sample", sizes.small_sample, sizes.directories_sample, sizes.source_sample

    def empty(self):
        """Deletes what the previous workload wrote."""
        for directory in (self.root / "in", self.local / "out"):
            shutil.rmtree(directory, ignore_errors=True)
            directory.mkdir()
        shutil.chown(self.root / "in", "ftpfs-test", "ftpfs-test")

    def put(self, name, target):
        """Copies `local / name`, with its times, to `target` in the server's directory `in`."""
        directory = self.root / "in"
        (directory / target).parent.mkdir(parents=True, exist_ok=True)
        run("cp", "-a", self.local / name, directory / target)
        run("chown", "-R", "ftpfs-test:", directory)

    def wait_until_stored(self, name, limit, varying=()):
        """Waits until the server has `local / name`, and no more, in its directory `in`: a program may return before that.

        Of the files `varying`, the size may differ.
        """
        deadline = time.monotonic() + limit
        ours, theirs = self.local / name, self.root / "in" / Path(name).name

        def wait(measure, path, wanted, seconds):
            while measure(path) != wanted:
                if time.monotonic() > deadline:
                    raise Failure(f"{path.relative_to(self.root)} is not on the server as wanted after {limit} s")
                time.sleep(seconds)

        def known(path):
            return {inner: 0 if str(inner) in varying and size else size for inner, size in sizes_in(path).items()}

        sizes = sizes_in(ours)
        # One file after the other, because listing all of them every time would slow the server down.
        for inner, size in sizes.items():
            if str(inner) not in varying:
                wait(size_of, theirs / inner, size, 0.001)
        wait(known, theirs, known(ours), 0.02)

    def check(self, name):
        """Checks that the server has the uploaded files, byte for byte."""
        run("diff", "-rq", self.local / name, self.root / "in" / Path(name).name)


def size_of(path):
    """The size of a file, 0 for a directory, None if there is neither."""
    try:
        return 0 if path.is_dir() else path.stat().st_size
    except FileNotFoundError:
        return None


def sizes_in(top):
    """The sizes of a file or of everything in a directory, by relative path."""
    inner = []
    # It may be vanishing.
    with contextlib.suppress(FileNotFoundError):
        inner = list(top.rglob("*"))
    return {path.relative_to(top): size_of(path) for path in (top, *inner)}


def write_random(path, mib):
    with open(path, "wb") as file:
        for _ in range(mib):
            file.write(os.urandom(MIB))


def write_small(directory, count):
    directory.mkdir()
    for number in range(count):
        (directory / f"{number:04}").write_bytes(os.urandom(SMALL_BYTES))


def grow_tree(top, count):
    """Creates `count` directories on two levels, with ten files each."""
    top.mkdir()
    upper = max(1, count // 20)
    outer = [top / f"directory-{number:03}" for number in range(upper)]
    inner = [outer[number % upper] / f"inner-{number:03}" for number in range(count - upper)]
    for directory in (*outer, *inner):
        directory.mkdir()
        for number in range(FILES_IN_DIRECTORY):
            (directory / f"file-{number}.txt").write_text("x" * 100)


def write_source(directory, count):
    """Creates a small source tree, `source`, and an archive of it."""
    source = directory / "source"
    lay_source(source, count)
    # As most times, it has seconds, which a listing of the last months does not show.
    yesterday = (time.time() // DAY - 1) * DAY + 37
    for path in (source, *source.rglob("*")):
        os.utime(path, (yesterday, yesterday))
    with tarfile.open(directory / "source.tar", "w") as archive:
        archive.add(source, "source")


def lay_source(top, count):
    for number in range(count):
        path = top / f"module-{number // 6}" / f"file-{number}.rs"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"// %d\n" % number + b"fn work() {}\n" * (100 + 50 * (number % 7)))


def make_repository(directory, count):
    """Creates a git repository with a clean work tree. As on a mount, git compares sizes and times only."""
    lay_source(directory, count)
    for path in directory.rglob("*"):
        os.utime(path, (LONG_AGO, LONG_AGO))
    git = ["git", "-C", directory, "-c", "user.name=bench", "-c", "user.email=bench@example.org"]
    settings = ("core.checkStat", "minimal"), ("gc.auto", "0")
    try:
        run(*git, "init", "-q")
        for name, value in settings:
            run(*git, "config", name, value)
        run(*git, "add", ".")
        run(*git, "commit", "-qm", "Begin")
    except (OSError, subprocess.SubprocessError) as error:
        raise Failure(f"cannot create a repository: {error}") from None
