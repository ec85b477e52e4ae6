"""The sizes of the workloads."""

import dataclasses


@dataclasses.dataclass
class Sizes:
    """Sizes of one run. The `sample` fields are for slow programs over a link, which are compared by time per item."""

    rtts: tuple
    rounds: int
    minutes: float
    # Size of the large file in MiB, on loopback and over a link.
    large: int
    large_far: int
    small: int
    small_sample: int
    directories: int
    directories_sample: int
    many: int
    # Number of random reads of 4 KiB, and the size of their file in MiB.
    random: int
    random_sample: int
    random_mib: int
    # Size of each file that is read in parallel, in MiB.
    stream: int
    source: int
    source_sample: int
    repository: int
    # Size of the file that a line is appended to, in MiB.
    appended_mib: int
    peers: tuple
    # Seconds after which a peer is stopped and its time is a lower bound.
    limit: float


MOUNTS = ("rclone", "rclone full", "curlftpfs")
# Not all of them speak FTP: a comparison for users, not for the protocol.
DAY_PEERS = ("sshfs", "gvfs", *MOUNTS)

QUICK = Sizes(
    rtts=(0, 40), rounds=2, minutes=3, large=128, large_far=32, small=200, small_sample=10, directories=300, directories_sample=10,
    many=5000, random=60, random_sample=10, random_mib=64, stream=2, source=20, source_sample=6, repository=12, appended_mib=64,
    peers=("curl", "lftp", "rclone lsf", "rclone"), limit=15,
)  # fmt: skip
DEFAULT = Sizes(
    rtts=(0, 20, 100), rounds=3, minutes=12, large=512, large_far=256, small=200, small_sample=16, directories=300,
    directories_sample=15, many=20000, random=100, random_sample=15, random_mib=64, stream=4, source=60, source_sample=10,
    repository=24, appended_mib=256, peers=("curl", "lftp", "rclone lsf", *MOUNTS), limit=40,
)  # fmt: skip
FULL = Sizes(
    rtts=(0, 20, 40, 100), rounds=5, minutes=90, large=1024, large_far=256, small=200, small_sample=50, directories=300,
    directories_sample=60, many=20000, random=100, random_sample=50, random_mib=64, stream=16, source=200, source_sample=30,
    repository=60, appended_mib=256, peers=("curl", "lftp", "rclone lsf", *MOUNTS), limit=240,
)  # fmt: skip


def for_a_day(sizes):
    """The sizes of a day's work. Its samples are large enough for one-time costs, such as the login, to hardly weigh."""
    return dataclasses.replace(
        sizes, source=150, repository=150, small=200, directories=300, source_sample=max(sizes.source_sample, 24),
        small_sample=max(sizes.small_sample, 20), directories_sample=max(sizes.directories_sample, 40), peers=DAY_PEERS,
        limit=max(sizes.limit, 40),
    )  # fmt: skip
