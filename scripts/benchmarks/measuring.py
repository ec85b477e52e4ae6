"""The rounds: every program does every work in turn, and what that took is written down."""

import dataclasses
import mmap
import sys
import time

from . import programs, servers
from .place import MIB
from .processes import Failure, run
from .programs import OURS

# A work that took longer is done in one round only: what it waits for are round trips, and those stay the same.
REPEATED_SECONDS = 8
LONGEST_SECONDS = 600


@dataclasses.dataclass
class Result:
    """One program's work, once."""

    rtt: int
    work: str
    program: str
    items: int
    # Until the server had everything.
    seconds: float
    # … and until the command returned.
    returned: float
    # It was ended unfinished: it takes longer than this.
    is_over: bool = False
    mib: int = 0
    cpu_seconds: float | None = None
    peak_mb: float | None = None
    commands: dict = dataclasses.field(default_factory=dict)
    connections: int = 0
    data_connections: int = 0
    # Why it could not do the work, where it could not.
    failure: str = ""

    def ask(self, server, position):
        """The server's log tells what it was asked since that position."""
        self.commands = server.asked_since(position)
        self.connections = servers.connections(self.commands)
        self.data_connections = servers.data_connections(self.commands)


def measure(place, server, chosen, works, rounds, deadline):
    """Results of one server, all rounds of it: the first is always done, no other work begins after the deadline."""
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
    # What is measured does all of it, however long it takes.
    limit = LONGEST_SECONDS if program.name in OURS else place.sizes.limit
    is_sample = place.is_far and (program.is_sampled or program.name in work.sampled)
    part = "sample" if is_sample else "all"
    try:
        return (on_a_mount if program.is_mount else on_the_wire)(place, server, program, work, part, limit)
    except Failure as failure:
        # A time for work that was not done is none.
        if program.name in OURS:
            raise
        return Result(place.rtt, work.key, program.name, work.items[part], 0, 0, failure=why(failure, place))


def why(failure, place):
    """Without the name of the scratch directory, which says nothing to a reader."""
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
            place.wait_until_stored(work.stores(part), limit)
        seconds = time.monotonic() - began
        if work.tells_time and not done.is_over:
            seconds = done.seconds = float(done.output)
        result = result_of(place, program, work, part, done, seconds)
        result.cpu_seconds, result.peak_mb = mount.cpu_seconds() - used, mount.peak_mb()
    result.ask(server, position)
    if work.stores and not done.is_over:
        place.check(work.stores(part))
    return result


def result_of(place, program, work, part, done, seconds):
    return Result(
        place.rtt, work.key, program.name, work.items[part], seconds, done.seconds, is_over=done.is_over, mib=work.mib
    )


def touch_memory(mib):
    """Takes as much memory as the work can need and gives it back.

    The host of a virtual machine may have taken free memory away; whoever needs it first then waits for it, here up
    to 4 s a GiB, which has nothing to do with the program that is measured.
    """
    available = next(int(line.split()[1]) for line in open("/proc/meminfo") if line.startswith("MemAvailable"))
    size = min(mib * MIB, available * 1024 // 4)
    with mmap.mmap(-1, size) as memory:
        for page in range(0, size, mmap.PAGESIZE):
            memory[page] = 1
