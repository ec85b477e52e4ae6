"""The work of an ordinary day: the workloads that change what the server already has, and the order of all of them."""

import os
import shutil
import sys
import time

from .place import SMALL_BYTES, write_random, write_small
from .processes import Failure, run
from .work import Work, whole

KEYS = (
    "large-read", "large-write", "small-read", "small-write", "untar", "sync-new", "sync", "clone", "commit", "git", "touched", "save",
    "replace", "move", "append", "walk", "delete",
)  # fmt: skip
# Those that need what `fill` creates.
FILLED = ("clone", "commit", "touched", "save", "replace", "move", "append", "delete")
# Files to save and to move.
FILES = 20
LINE = "one more line\n"
# Files of the repository that have another time, but not other contents, and as many that are changed.
TOUCHED = 60
# What differs in size between two clones of a repository: git records what the file system can do.
VARYING = (".git/config",)
GIT = ["git", "-c", "user.name=bench", "-c", "user.email=bench@example.org", "-c", "safe.directory=*"]
# A commit has the same name and size wherever it is made.
COMMIT = ["env", "GIT_AUTHOR_DATE=1700000000 +0000", "GIT_COMMITTER_DATE=1700000000 +0000", *GIT]
# Saves the files of the first directory to the second, as most editors do, or without `fsync`, as most other programs do.
SAVE = """
import os, sys
ours, theirs, *sync = sys.argv[1:]
try:
    for name in sorted(os.listdir(ours)):
        content = open(f"{ours}/{name}", "rb").read()
        with open(f"{theirs}/{name}.tmp", "wb") as file:
            file.write(content)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        os.replace(f"{theirs}/{name}.tmp", f"{theirs}/{name}")
except OSError as error:
    sys.exit(f"save: {error.strerror}")
"""


def fill(place):
    """Creates what the server has before each workload, below `before`, and what it has afterwards, below `after`."""
    before, after = place.local / "before", place.local / "after"
    for directory in (before, after, before / "moved", after / "moved", after / "deleted"):
        directory.mkdir()
    write_small(before / "saved", FILES)
    shutil.copytree(before / "saved", after / "saved")
    for path in (after / "saved").iterdir():
        # A different size, by which the new version is recognised.
        path.write_bytes(os.urandom(SMALL_BYTES + 100))
    write_small(before / "moved/from", FILES)
    (before / "moved/to").mkdir()
    (after / "moved/from").mkdir()
    shutil.copytree(before / "moved/from", after / "moved/to")
    write_random(before / "appended", place.sizes.appended_mib)
    shutil.copy(before / "appended", after / "appended")
    with open(after / "appended", "a") as file:
        file.write(LINE)
    fill_repositories(place.local / "repository", before, after)


def fill_repositories(repository, before, after):
    """Creates the repositories to look at, to change and to clone, and what the last two become."""
    for name in ("touched", "changed", "cloned"):
        run("cp", "-a", repository, before / name)
    run("cp", "-a", repository, after / "changed")
    for path in files_of(before / "touched"):
        os.utime(path, (time.time(), time.time()))
    for top in (before, after):
        for path in files_of(top / "changed"):
            with open(path, "a") as file:
                file.write(LINE)
    run(*commit(after / "changed"))
    # With several threads, the size of a pack is not always the same.
    run(*GIT, "-C", before / "cloned", "config", "pack.threads", "1")
    run(*clone(before / "cloned", after / "clone"))


def files_of(repository):
    """Some of the files of a work tree."""
    return sorted(repository.glob("module-*/*"))[:TOUCHED]


def commit(repository):
    return [*COMMIT, "-C", repository, "commit", "-qam", "Change"]


def clone(source, target):
    # As from another machine: in one pack.
    return [*GIT, "clone", "-q", "--no-local", source, target]


def check_repository(place, name):
    """Checks that the server has the work tree of `local / name`, byte for byte, and an intact repository."""
    ours, theirs = place.local / name, place.root / "in" / os.path.basename(name)
    run("diff", "-rq", "--exclude=.git", ours, theirs)
    run(*GIT, "-C", theirs, "fsck", "--strict")
    heads = [run(*GIT, "-C", path, "rev-parse", "HEAD").output for path in (ours, theirs)]
    if len(set(heads)) > 1:
        raise Failure(f"{name} has another commit on the server")


def works(place):
    source = {"all": place.sizes.source, "sample": place.sizes.source_sample}
    return [
        Work(
            "sync", "rsync an unchanged tree again", "file", source, is_special=True,
            before=lambda part: place.put(f"{part}/source", "source"),
            mounted=lambda mnt, part: ["rsync", "-a", f"{place.local}/{part}/source/", f"{mnt}/in/source/"],
            stores=lambda part: f"{part}/source",
        ),
        Work(
            "sync-new", "rsync a new tree", "file", source, is_special=True,
            mounted=lambda mnt, part: ["rsync", "-a", f"{place.local}/{part}/source/", f"{mnt}/in/source/"],
            stores=lambda part: f"{part}/source",
        ),
        Work(
            "touched", f"git status with {TOUCHED} touched files", "tree", whole(1), is_special=True,
            before=lambda part: place.put("before/touched", "touched"),
            mounted=lambda mnt, part: [*GIT, "-C", f"{mnt}/in/touched", "status", "--short"],
        ),
        Work(
            "commit", f"git commit of {TOUCHED} files", "commit", whole(1), is_special=True,
            before=lambda part: place.put("before/changed", "changed"),
            mounted=lambda mnt, part: commit(f"{mnt}/in/changed"),
            stores=lambda part: "after/changed", varying=VARYING, check=check_repository,
        ),
        Work(
            "clone", f"git clone of {place.sizes.repository} files", "clone", whole(1), is_special=True,
            mounted=lambda mnt, part: clone(place.local / "before/cloned", f"{mnt}/in/clone"),
            stores=lambda part: "after/clone", varying=VARYING, check=check_repository,
        ),
        Work(
            "save", f"save {FILES} files, like an editor", "file", whole(FILES), is_special=True,
            before=lambda part: place.put("before/saved", "saved"),
            mounted=lambda mnt, part: [sys.executable, "-c", SAVE, place.local / "after/saved", f"{mnt}/in/saved", "sync"],
            stores=lambda part: "after/saved",
        ),
        Work(
            "replace", f"replace {FILES} files", "file", whole(FILES), is_special=True,
            before=lambda part: place.put("before/saved", "saved"),
            mounted=lambda mnt, part: [sys.executable, "-c", SAVE, place.local / "after/saved", f"{mnt}/in/saved"],
            stores=lambda part: "after/saved",
        ),
        Work(
            "move", f"move {FILES} files", "file", whole(FILES), is_special=True,
            before=lambda part: place.put("before/moved", "moved"),
            mounted=lambda mnt, part: ["sh", "-c", f"mv {mnt}/in/moved/from/* {mnt}/in/moved/to/"],
            stores=lambda part: "after/moved",
        ),
        Work(
            "append", f"append a line to {place.sizes.appended_mib} MiB", "file", whole(1), is_special=True,
            before=lambda part: place.put("before/appended", "appended"),
            mounted=lambda mnt, part: ["sh", "-c", f"printf '{LINE}' >> {mnt}/in/appended"],
            stores=lambda part: "after/appended",
        ),
        Work(
            "delete", "delete a tree", "file", source, is_special=True,
            before=lambda part: place.put(f"{part}/source", "deleted/source"),
            mounted=lambda mnt, part: ["rm", "-rf", f"{mnt}/in/deleted/source"],
            stores=lambda part: "after/deleted",
        ),
    ]  # fmt: skip
