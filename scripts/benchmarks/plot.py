"""A report as a chart: the speed of ftpfs relative to its peers, and the round trips, for each round-trip time."""

import math
from html import escape

from .programs import OURS, way
from .sizes import MOUNTS

WIRE = ("curl", "lftp", "rclone lsf")
# Series: a name, the programs of which the fastest counts, and a colour that is safe for colour-blind readers.
SERIES = (("best other mount", MOUNTS, "#0072b2"), ("best client without a mount", WIRE, "#e69f00"))
WIDTH, LEFT, RIGHT, TOP = 940, 250, 150, 64
BAR, GAP, HEAD, AXIS = 11, 10, 30, 34
# The axis is logarithmic and always includes 1.
TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)


def draw(report):
    """Returns the SVG."""
    panels = [(rtt, rows_of(report, rtt)) for rtt in report.rtts]
    shown = [ratio for _, rows in panels for _, _, ratios in rows for ratio in ratios if ratio]
    scale = Scale(min(shown, default=1), max(shown, default=1))
    parts, top = [legend(report)], TOP
    for rtt, rows in panels:
        drawn, height = panel(rtt, rows, scale, top)
        parts.append(drawn)
        top += height
    body = "\n".join(parts)
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" font-family="sans-serif" font-size="12">
<title>Speed of ftpfs relative to other programs</title>
<rect width="{WIDTH}" height="{top}" fill="#ffffff"/>
{body}
</svg>
"""


class Scale:
    """The horizontal position of a ratio."""

    def __init__(self, least, most):
        self.ticks = [tick for tick in TICKS if least / 2 <= tick <= most * 2 or tick == 1]
        # Room for the label of the shortest bar.
        self.low = math.log(min(0.7 * least, self.ticks[0], 0.5))
        self.high = math.log(max(most, self.ticks[-1], 2))

    def at(self, ratio):
        share = (math.log(ratio) - self.low) / (self.high - self.low)
        return LEFT + share * (WIDTH - LEFT - RIGHT)


def rows_of(report, rtt):
    """Returns name, speed and a ratio per series for each row."""
    rows = []
    for key, name, item in report.works:
        for ours in OURS:
            if not report.of(rtt, key, ours):
                continue
            ratios = [report.best(rtt, key, programs, ours) for _, programs, _ in SERIES]
            rows.append((name + way(ours), pace(report, rtt, key, ours, item), ratios))
    return rows


def pace(report, rtt, key, program, item):
    """The speed, in the unit that fits the workload."""
    seconds, trips = report.seconds(rtt, key, program), report.round_trips(rtt, key, program)
    if mib := report.of(rtt, key, program)[0].mib:
        return f"{mib / seconds:.0f} MiB/s"
    return f"{seconds:.2f} s" if trips is None else f"{trips:.2f} RTT/{item}"


def legend(report):
    parts = [text(LEFT, 20, f"Speed of ftpfs relative to other programs, on {report.about['server']}", size=15, weight="bold")]
    left = LEFT
    for name, _, colour in SERIES:
        parts.append(f'<rect x="{left}" y="34" width="12" height="12" fill="{colour}"/>')
        parts.append(text(left + 18, 44, name))
        left += 30 + 7 * len(name)
    return "\n".join(parts)


def panel(rtt, rows, scale, top):
    """Returns the bars of one round-trip time, and their total height."""
    parts = [text(LEFT - 8, top + 18, f"{rtt} ms" if rtt else "loopback", anchor="end", size=14, weight="bold")]
    row_height = len(SERIES) * BAR + GAP
    first, bottom = top + HEAD, top + HEAD + len(rows) * row_height
    for tick in scale.ticks:
        x = scale.at(tick)
        colour, width = ("#333333", 1.5) if tick == 1 else ("#dddddd", 1)
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{first - 4}" y2="{bottom}" stroke="{colour}" stroke-width="{width}"/>')
        parts.append(text(x, bottom + 14, f"{tick:g}×", anchor="middle", colour="#555555"))
    for number, (name, told, ratios) in enumerate(rows):
        y = first + number * row_height
        middle = y + len(SERIES) * BAR / 2 + 4
        parts.append(text(LEFT - 8, middle, name, anchor="end"))
        parts.append(text(WIDTH - 8, middle, told, anchor="end", colour="#555555"))
        for place, (ratio, (_, _, colour)) in enumerate(zip(ratios, SERIES)):
            if ratio:
                parts.append(bar(scale, ratio, y + place * BAR, colour))
    return "\n".join(parts), bottom - top + AXIS


def bar(scale, ratio, y, colour):
    one, end = scale.at(1), scale.at(ratio)
    left, width = min(one, end), max(abs(end - one), 1)
    label = text(end + (4 if ratio >= 1 else -4), y + BAR - 2, f"{ratio:.2g}", anchor="start" if ratio >= 1 else "end", size=10)
    return f'<rect x="{left:.1f}" y="{y}" width="{width:.1f}" height="{BAR - 1}" fill="{colour}"/>\n{label}'


def text(x, y, words, anchor="start", size=12, weight="normal", colour="#222222"):
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" font-weight="{weight}"'
        f' fill="{colour}">{escape(words)}</text>'
    )
