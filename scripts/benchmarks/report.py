"""The results of a run: reading and writing them, medians and ratios."""

import dataclasses
import json
import re
import statistics

from .measuring import Result


@dataclasses.dataclass
class Report:
    """One run. `works` are the keys, names and items of the workloads, in the order of the table."""

    about: dict
    works: list
    results: list

    @classmethod
    def read(cls, path):
        with open(path) as file:
            told = json.load(file)
        return cls(told["about"], told["works"], [Result(**result) for result in told["results"]])

    def write(self, path):
        told = {"about": self.about, "works": self.works, "results": [dataclasses.asdict(result) for result in self.results]}
        path.write_text(json.dumps(told, indent=1) + "\n")

    @property
    def is_day(self):
        return self.about.get("is_day", False)

    @property
    def rtts(self):
        return sorted({result.rtt for result in self.results})

    def of(self, rtt, work, program):
        wanted = (rtt, work, program)
        return [result for result in self.results if (result.rtt, result.work, result.program) == wanted and not result.failure]

    def failures(self):
        """The failures, one line per program and workload."""
        names = {key: name for key, name, _ in self.works}
        failed = {(result.program, result.work): result.failure for result in self.results if result.failure}
        return [f"{program} failed at `{names[work]}`: {reason(why)}" for (program, work), why in failed.items()]

    def programs(self, rtt):
        """The programs, in the order in which they ran."""
        return list(dict.fromkeys(result.program for result in self.results if result.rtt == rtt))

    def median(self, rtt, work, program, figure):
        """The median of `figure(result)` over the rounds, or None without a figure."""
        figures = [figure(result) for result in self.of(rtt, work, program)]
        figures = [value for value in figures if value is not None]
        return statistics.median(figures) if figures else None

    def seconds(self, rtt, work, program):
        return self.median(rtt, work, program, lambda result: result.seconds)

    def round_trips(self, rtt, work, program="ftpfs"):
        """Round trips per item: seconds / round-trip time / items."""
        if not rtt:
            return None
        return self.median(rtt, work, program, lambda result: result.seconds * 1000 / rtt / result.items)

    def ratio(self, rtt, work, program, ours="ftpfs"):
        """How many times as fast per item ftpfs was, and whether this is a lower bound.

        This is the median over the rounds that both completed; each pair ran one right after the other.
        """
        pairs = list(zip(self.of(rtt, work, program), self.of(rtt, work, ours)))
        if not pairs:
            return None, False
        ratios = [(their.seconds / their.items) / (our.seconds / our.items) for their, our in pairs]
        return statistics.median(ratios), any(their.is_over for their, _ in pairs)

    def best(self, rtt, work, programs, ours="ftpfs"):
        """The ratio to the fastest of `programs`."""
        ratios = [self.ratio(rtt, work, program, ours)[0] for program in programs]
        return min((ratio for ratio in ratios if ratio is not None), default=None)

    def commands(self, rtt, work, program="ftpfs"):
        """The command counts of the last round as text, the most frequent first."""
        rounds = self.of(rtt, work, program)
        counted = rounds[-1].commands if rounds else {}
        ordered = sorted(counted.items(), key=lambda pair: -pair[1])
        return " ".join(f"{verb}:{count}" for verb, count in ordered)


def reason(failure):
    """The end of a message, without the command and the names of files."""
    return re.sub(r' (on )?"[^"]*"', "", ": ".join(failure.split(": ")[-2:]))
