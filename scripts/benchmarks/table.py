"""A report as text tables in Markdown."""

from .goals import cpu_per_gib, goals
from .programs import OURS, way

PEERS = ("curl", "lftp", "rclone lsf", "rclone", "rclone full", "curlftpfs", "sshfs", "gvfs", "beside")


def tables(report):
    """All tables of a report."""
    parts = [about(report)]
    for rtt in report.rtts:
        parts += [f"{far(rtt)}; a ratio of more than 1 means that ftpfs is faster.", ratios(report, rtt)]
    parts += ["Commands that ftpfs sent, and resources that it used:", costs(report)]
    parts += ["CPU seconds of the mount process per GiB, on loopback:", cpu(report)]
    if report.failures():
        parts.append("\n".join(f"- {failure}" for failure in report.failures()))
    parts += ["Targets:", "\n".join(f"    {goal}" for goal in goals(report))]
    return "\n\n".join(parts)


def far(rtt):
    return f"Round-trip time {rtt} ms" if rtt else "On loopback"


def about(report):
    about = report.about
    measured = ", ".join(f"{rtt}: {ms:.1f}" for rtt, ms in about["round_trip_ms"].items())
    lines = [
        f"{about['server']}{' with TLS' if about['tls'] else ''}, {about['cores']} cores, load {about['load']:.1f} at the start;",
        f"medians of up to {about['rounds']} rounds; measured round-trip times in ms: {measured}.",
    ]
    if about["missing"]:
        lines.append(f"Not available: {', '.join(about['missing'])}.")
    return "\n".join(lines)


def ours(report, rtt):
    """A row for each workload and each variant of ftpfs."""
    for key, name, item in report.works:
        for program in OURS:
            if report.of(rtt, key, program):
                yield key, name + way(program), item, program


def ratios(report, rtt):
    peers = [peer for peer in PEERS if peer in report.programs(rtt)]
    rows = []
    for key, name, item, program in ours(report, rtt):
        trips = report.round_trips(rtt, key, program)
        cells = [ratio_cell(*report.ratio(rtt, key, peer, program)) for peer in peers]
        told = f"{trips:.2f} per {item}" if trips is not None else "-"
        seconds = f"{report.seconds(rtt, key, program):.3f}"
        rows.append([name, seconds, told, *cells, str(len(report.of(rtt, key, program)))])
    return lay_out(["workload", "seconds", "round trips", *(f"vs {peer}" for peer in peers), "rounds"], rows)


def ratio_cell(ratio, is_more):
    if ratio is None:
        return "-"
    return f"{'>' if is_more else ''}{ratio:.2f}"


def costs(report):
    rows = []
    # The commands hardly depend on the round-trip time.
    rtt = report.rtts[-1]
    for key, name, _, program in ours(report, rtt):
        one = report.of(rtt, key, program)[-1]
        cpu_seconds = report.median(rtt, key, program, lambda result: result.cpu_seconds)
        peak = max(result.peak_mb or 0 for result in report.of(rtt, key, program))
        # Pure-FTPd and the embedded server do not log the commands that they receive.
        counts = (sum(one.commands.values()), one.connections, one.data_connections) if one.commands else "---"
        used = (f"{cpu_seconds:.2f}", f"{peak:.0f}")
        rows.append([name, *map(str, counts), *used, report.commands(rtt, key, program)])
    return lay_out(["workload", "commands", "connections", "data connections", "CPU s", "peak MB", "commands by verb"], rows)


def cpu(report):
    names = [name for name in report.programs(report.rtts[0]) if report.of(0, "large-read", name)]
    rows = []
    for name in names:
        figures = [cpu_per_gib(report, name, work) for work in ("large-read", "large-write")]
        if any(figure is not None for figure in figures):
            peaks = [result.peak_mb or 0 for result in report.results if result.program == name]
            rows.append([name, *("-" if figure is None else f"{figure:.2f}" for figure in figures), f"{max(peaks):.0f}"])
    return lay_out(["program", "read", "write", "peak MB in any workload"], rows)


def lay_out(heads, rows):
    """Aligns the columns: the first one and text to the left, numbers to the right."""
    widths = [max(len(row[column]) for row in [heads, *rows]) for column in range(len(heads))]
    lines = []
    for row in [heads, ["-" * width for width in widths], *rows]:
        is_left = [column == 0 or heads[column] == "commands by verb" for column in range(len(row))]
        cells = [cell.ljust(width) if left else cell.rjust(width) for cell, width, left in zip(row, widths, is_left)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)
