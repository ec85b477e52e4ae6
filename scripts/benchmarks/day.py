"""The work of an ordinary day: the workloads that change what the server already has, and the order of all of them."""

import os
import shutil
import sys

from .place import SMALL_BYTES, write_random, write_small
from .work import Work, whole

KEYS = ("untar", "git", "sync", "save", "move", "append", "walk", "small-read", "small-write", "delete")
# Files to save and to move.
FILES = 20
LINE = "one more line\n"
# Saves the files of the first directory to the second, as most editors do.
SAVE = """
import os, sys
ours, theirs = sys.argv[1:]
try:
    for name in sorted(os.listdir(ours)):
        content = open(f"{ours}/{name}", "rb").read()
        with open(f"{theirs}/{name}.tmp", "wb") as file:
            file.write(content)
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
            "save", f"save {FILES} files, like an editor", "file", whole(FILES), is_special=True,
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
