"""Performance targets, and whether a run reached them."""

import dataclasses

from .programs import way
from .sizes import MOUNTS

# Minimum round-trip time in ms at which round trips dominate.
FAR = 40
PEAK_MB = 200


@dataclasses.dataclass
class Goal:
    """A measured figure and its minimum or maximum."""

    name: str
    figure: float | None
    wanted: float
    is_least: bool

    @property
    def is_reached(self):
        if self.figure is None:
            return None
        return self.figure >= self.wanted if self.is_least else self.figure <= self.wanted

    def __str__(self):
        if self.figure is None:
            return f"not measured: {self.name}"
        relation = "at least" if self.is_least else "at most"
        return f"{'yes' if self.is_reached else 'NO ':3} {self.figure:8.2f}, {relation} {self.wanted:g}: {self.name}"


def at_least(name, figure, wanted):
    return Goal(name, figure, wanted, True)


def at_most(name, figure, wanted):
    return Goal(name, figure, wanted, False)


def goals(report):
    """The targets for the round-trip times of this run. Works that it did not do have none."""
    found = []
    for rtt in report.rtts:
        if report.about.get("rate"):
            found += at_a_rate(report, rtt)
        elif not rtt:
            found += near(report)
        elif rtt >= FAR:
            found += far_tls(report, rtt) if report.about["tls"] else [*far(report, rtt), *of_a_day(report, rtt)]
    peaks = [result.peak_mb for result in report.results if result.program.startswith("ftpfs") and result.peak_mb]
    found.append(at_most("peak memory of ftpfs in any workload, MB", max(peaks, default=None), PEAK_MB))
    return found


def near(report):
    reads = at_least("0 ms: large read, ratio to curl", report.ratio(0, "large-read", "curl")[0], 0.9)
    writes = at_least("0 ms: large write, ratio to curl", report.ratio(0, "large-write", "curl")[0], 0.9)
    if report.about["tls"]:
        return [reads, writes]
    ours = cpu_per_gib(report, "ftpfs")
    theirs = [value for value in (cpu_per_gib(report, name) for name in ("rclone", "rclone full")) if value]
    share = ours / min(theirs) if ours is not None and theirs else None
    return [
        reads,
        writes,
        at_least("0 ms: large direct_io read, ratio to curl", report.ratio(0, "large-read", "curl", "ftpfs direct_io")[0], 0.9),
        at_most("0 ms: CPU seconds per GiB read, relative to rclone mount", share, 0.5),
    ]


def at_a_rate(report, rtt):
    """The targets on a link of limited bandwidth, which a transfer must fill."""
    return [
        at_least(f"{rtt} ms: {name}, ratio to curl", report.ratio(rtt, key, "curl")[0], 0.98)
        for name, key in (("large read", "large-read"), ("large write", "large-write"))
    ]


def far_tls(report, rtt):
    writeback = report.round_trips(rtt, "small-write", "ftpfs writeback")
    return [
        at_most(f"{rtt} ms: small file read over TLS, round trips", report.round_trips(rtt, "small-read"), 0.75),
        at_most(f"{rtt} ms: small file write over TLS, round trips", report.round_trips(rtt, "small-write"), 4.2),
        at_most(f"{rtt} ms: small file write over TLS with writeback, round trips", writeback, 0.6),
    ]


# By workload: round trips per item in the default mode.
OF_A_DAY = {"sync": 0.1, "touched": 50}
# The same with the names in the background, until the server has all of it.
WITH_NAMES = {"delete": 0.15, "untar": 0.5, "sync-new": 0.6, "clone": 50, "commit": 40, "replace": 1, "move": 0.3}


def of_a_day(report, rtt):
    names = {key: name for key, name, _ in report.works}
    return [
        at_most(f"{rtt} ms: {names[key]}{way(program)}, round trips per item", report.round_trips(rtt, key, program), wanted)
        for program, targets in (("ftpfs", OF_A_DAY), ("ftpfs names", WITH_NAMES))
        for key, wanted in targets.items()
        if key in names
    ]


def far(report, rtt):
    def best(work, ours="ftpfs"):
        return report.best(rtt, work, MOUNTS, ours)

    writeback = report.round_trips(rtt, "small-write", "ftpfs writeback")
    goals_ = [
        at_most(f"{rtt} ms: small file read, round trips", report.round_trips(rtt, "small-read"), 0.5),
        at_least(f"{rtt} ms: small file read, ratio to the best other mount", best("small-read"), 5),
        at_most(f"{rtt} ms: small file write without writeback, round trips", report.round_trips(rtt, "small-write"), 3.2),
        at_most(f"{rtt} ms: small file write with writeback, round trips", writeback, 0.6),
        at_most(f"{rtt} ms: walk, round trips per directory", report.round_trips(rtt, "walk"), 0.35),
        at_least(f"{rtt} ms: walk, ratio to the best other mount", best("walk"), 8),
        at_least(f"{rtt} ms: walk, ratio to lftp find", report.ratio(rtt, "walk", "lftp")[0], 2),
        at_least(f"{rtt} ms: walk, ratio to rclone lsf -R", report.ratio(rtt, "walk", "rclone lsf")[0], 1),
        at_most(f"{rtt} ms: random read, round trips", report.round_trips(rtt, "random"), 2),
        at_most(f"{rtt} ms: path six directories deep on a new mount, round trips", report.round_trips(rtt, "deep"), 8),
    ]
    if rtt >= 100:
        goals_.append(at_least(f"{rtt} ms: large read, ratio to lftp pget -n 8", report.ratio(rtt, "large-read", "lftp")[0], 1))
        goals_.append(at_least(f"{rtt} ms: large read, ratio to the best other mount", best("large-read"), 3))
    return goals_


def cpu_per_gib(report, program, work="large-read", rtt=0):
    """CPU seconds of the mount process per GiB transferred."""

    def per_gib(result):
        return None if result.cpu_seconds is None else result.cpu_seconds * 1024 / result.mib

    return report.median(rtt, work, program, per_gib)
