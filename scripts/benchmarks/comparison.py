"""The seconds of each mount for a day's work, side by side, as a text table in Markdown."""

from .table import about, far, lay_out

PROGRAMS = ("ftpfs", "ftpfs writeback", "ftpfs names", "sshfs", "rclone", "rclone full", "curlftpfs", "gvfs")
LEGEND = """`≈`: computed from a sample of the files or directories. `>`: stopped after that time.
`failed`: see below the table. `-`: not measured."""


def comparison(report):
    """The table of each round-trip time, what the signs in it mean, and the failures."""
    parts = [about(report), LEGEND]
    for rtt in report.rtts:
        parts += [f"{far(rtt)}, in seconds:", table(report, rtt)]
    if report.failures():
        parts.append("\n".join(f"- {failure}" for failure in report.failures()))
    return "\n\n".join(parts)


def table(report, rtt):
    names = [name for name in PROGRAMS if name in report.programs(rtt)]
    rows = []
    for key, name, item in report.works:
        cells = [cell(report, rtt, key, program) for program in names]
        rows.append([title(name, item, report.of(rtt, key, "ftpfs")[0].items), *cells])
    return lay_out(["work", *names], rows)


def title(name, item, count):
    """The name of the workload with the number of items, unless it says it or there is one."""
    if count == 1 or str(count) in name:
        return name
    return f"{name}: {count} {item.removesuffix('y')}{'ies' if item.endswith('y') else 's'}"


def cell(report, rtt, key, program):
    rounds = report.of(rtt, key, program)
    if not rounds:
        has_failed = any((result.rtt, result.work, result.program) == (rtt, key, program) for result in report.results)
        return "failed" if has_failed else "-"
    seconds = report.seconds(rtt, key, program)
    if any(result.is_over for result in rounds):
        return f">{seconds:.0f}"
    # ftpfs always does all of the work.
    share = report.of(rtt, key, "ftpfs")[0].items / rounds[0].items
    return f"≈{seconds * share:.1f}" if share != 1 else f"{seconds:.1f}"
