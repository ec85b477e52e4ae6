"""One workload: a row of the tables."""

import dataclasses


@dataclasses.dataclass
class Work:
    """One row of the table. `part` is `all` or `sample`."""

    key: str
    name: str
    # The item that round trips are counted per: file, directory, read.
    item: str
    # Number of items, by part.
    items: dict
    # Returns the command on a mount, given the mountpoint and the part.
    mounted: object
    # By program without a mount: returns its command, given the part.
    wire: dict = dataclasses.field(default_factory=dict)
    # Returns the local file or directory that the server has afterwards, given the part.
    stores: object = None
    # Files of that directory whose size may differ.
    varying: tuple = ()
    # Checks what the server has, given the place and what `stores` returned; by default, byte for byte.
    check: object = None
    # Puts what the workload needs in the server's directory `in`, given the part.
    before: object = None
    # Runs once before, unmeasured, to fill the caches.
    is_warm: bool = False
    # The measured time includes mounting.
    has_mount: bool = False
    # The command prints its own time in seconds.
    tells_time: bool = False
    # MiB transferred, for CPU seconds per GiB.
    mib: int = 0
    # Further programs that process the sample only.
    sampled: tuple = ()
    # Runs only on request: it belongs to a day's work, or shows the effect of one FUSE setting.
    is_special: bool = False
    # It is part of a day's work, which each variant of ftpfs does completely.
    is_day: bool = False


def whole(count):
    return {"all": count, "sample": count}
