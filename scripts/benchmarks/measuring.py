"""The rounds: each program runs each workload in turn, and the results are recorded."""

import dataclasses
import mmap
import sys
import time

from . import programs, servers
from .place import MIB, Place
from .processes import Failure, run
from .programs import OURS

# A workload that took longer runs in one round only: it waits for round trips, which hardly vary.
REPEATED_SECONDS = 8
LONGEST_SECONDS = 600


@dataclasses.dataclass
class Result:
    """One program, one workload, one round."""

    rtt: int
    work: str
    program: str
    items: int
    # Time until the server had everything.
    seconds: float
    # Time until the command returned.
    returned: float
    # It was stopped before it had finished: it takes longer than this.
    is_over: bool = False
    mib: int = 0
    cpu_seconds: float | None = None
    peak_mb: float | None = None
    commands: dict = dataclasses.field(default_factory=dict)
    connections: int = 0
    data_connections: int = 0
    # The reason if it could not do the work, otherwise empty.
    failure: str = ""

    def ask(self, server, position):
        """Counts the commands and connections in the server's log since that position."""
        self.commands = server.asked_since(position)
        self.connections = servers.connections(self.commands)
        self.data_connections = servers.data_connections(self.commands)


def measure(place, server, chosen, works, rounds, deadline):
    """Runs all rounds on one server. The first is always complete; the later ones start no work after the deadline."""
    results, slow = [], set()
    for number in range(rounds):
        for work in works:
            for program in filter(lambda program: program.can(work), chosen):
                turn = (work.key, program.name)
                if number and (time.monotonic() > deadline or turn in slow):
                    continue
                if sys.stderr.isatty():
                    print(f"\r{place.rtt} ms, round {number + 1}: {work.name}, {program.name:30}", end="", file=sys.stderr)
                result = once(place, server, program, work)
                if result.failure or result.seconds > REPEATED_SECONDS:
                    slow.add(turn)
                results.append(result)
    return results


def once(place, server, program, work):
    place.empty()
    if work.mib >= 64:
        touch_memory(3 * work.mib)
    # ftpfs does all of the work, however long it takes.
    limit = LONGEST_SECONDS if program.name in OURS else place.sizes.limit
    is_sample = place.is_far and (program.is_sampled or program.name in work.sampled) and work.key not in program.complete
    part = "sample" if is_sample else "all"
    if work.before:
        work.before(part)
    try:
        return (on_a_mount if program.is_mount else on_the_wire)(place, server, program, work, part, limit)
    except Failure as failure:
        # There is no time for work that was not done.
        if program.name in OURS:
            raise
        return Result(place.rtt, work.key, program.name, work.items[part], 0, 0, failure=why(failure, place))


def why(failure, place):
    """The message without the name of the scratch directory, which means nothing to a reader."""
    return str(failure).replace(str(place.local), "").replace(str(place.root), "")


def on_the_wire(place, server, program, work, part, limit):
    position = server.written()
    environment = programs.rclone_environment(server) if program.name.startswith("rclone") else None
    done = run(*work.wire[program.name](part), limit=limit, env=environment)
    result = result_of(place, program, work, part, done, done.seconds)
    result.ask(server, position)
    if work.stores and not done.is_over:
        place.check(work.stores(part))
    return result


def on_a_mount(place, server, program, work, part, limit):
    began, position = time.monotonic(), server.written()
    with programs.mounted(program, server, place) as mount:
        command = work.mounted(mount.path, part)
        if work.is_warm:
            run(*command, limit=limit)
            position = server.written()
        used = mount.cpu_seconds()
        if not work.has_mount:
            began = time.monotonic()
        done = run(*command, limit=limit)
        if work.stores and not done.is_over:
            place.wait_until_stored(work.stores(part), limit, work.varying)
        seconds = time.monotonic() - began
        if work.tells_time and not done.is_over:
            seconds = done.seconds = float(done.output)
        result = result_of(place, program, work, part, done, seconds)
        result.cpu_seconds, result.peak_mb = mount.cpu_seconds() - used, mount.peak_mb()
    result.ask(server, position)
    if work.stores and not done.is_over:
        (work.check or Place.check)(place, work.stores(part))
    return result


def result_of(place, program, work, part, done, seconds):
    return Result(
        place.rtt, work.key, program.name, work.items[part], seconds, done.seconds, is_over=done.is_over, mib=work.mib
    )


def touch_memory(mib):
    """Allocates and frees as much memory as the workload can need.

    The host of a virtual machine may have reclaimed free memory. The first program that needs it then waits, here up
    to 4 s per GiB, which would distort its result.
    """
    available = next(int(line.split()[1]) for line in open("/proc/meminfo") if line.startswith("MemAvailable"))
    size = min(mib * MIB, available * 1024 // 4)
    with mmap.mmap(-1, size) as memory:
        for page in range(0, size, mmap.PAGESIZE):
            memory[page] = 1
