"""A report as a picture: for each round-trip time how many times as fast as its peers ftpfs was, and the round trips."""

import math
from html import escape

from .programs import OURS, way
from .sizes import MOUNTS

WIRE = ("curl", "lftp", "rclone lsf")
# Whom ftpfs is compared with: a name, the programs of which the fastest counts, a colour that the colour-blind can tell.
SERIES = (("the best other mount", MOUNTS, "#0072b2"), ("the best client without a mount", WIRE, "#e69f00"))
WIDTH, LEFT, RIGHT, TOP = 940, 250, 150, 64
BAR, GAP, HEAD, AXIS = 11, 10, 30, 34
# The axis is logarithmic, and 1 is in it.
TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)


def draw(report):
    """The SVG."""
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
<title>ftpfs beside other programs</title>
<rect width="{WIDTH}" height="{top}" fill="#ffffff"/>
{body}
</svg>
"""


class Scale:
    """Where a ratio is, from left to right."""

    def __init__(self, least, most):
        self.ticks = [tick for tick in TICKS if least / 2 <= tick <= most * 2 or tick == 1]
        # Room for the shortest bar's figure.
        self.low = math.log(min(0.7 * least, self.ticks[0], 0.5))
        self.high = math.log(max(most, self.ticks[-1], 2))

    def at(self, ratio):
        share = (math.log(ratio) - self.low) / (self.high - self.low)
        return LEFT + share * (WIDTH - LEFT - RIGHT)


def rows_of(report, rtt):
    """Name, round trips and a ratio for each of the series."""
    rows = []
    for key, name, item in report.works:
        for ours in OURS:
            if not report.of(rtt, key, ours):
                continue
            ratios = [report.best(rtt, key, programs, ours) for _, programs, _ in SERIES]
            rows.append((name + way(ours), pace(report, rtt, key, ours, item), ratios))
    return rows


def pace(report, rtt, key, program, item):
    """How fast it was, in the words that fit the work."""
    seconds, trips = report.seconds(rtt, key, program), report.round_trips(rtt, key, program)
    if mib := report.of(rtt, key, program)[0].mib:
        return f"{mib / seconds:.0f} MiB/s"
    return f"{seconds:.2f} s" if trips is None else f"{trips:.2f} RTT a {item}"


def legend(report):
    parts = [text(LEFT, 20, f"How many times as fast as others ftpfs is, on {report.about['server']}", size=15, weight="bold")]
    left = LEFT
    for name, _, colour in SERIES:
        parts.append(f'<rect x="{left}" y="34" width="12" height="12" fill="{colour}"/>')
        parts.append(text(left + 18, 44, name))
        left += 30 + 7 * len(name)
    return "\n".join(parts)


def panel(rtt, rows, scale, top):
    """One round-trip time's bars; how high they are."""
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
