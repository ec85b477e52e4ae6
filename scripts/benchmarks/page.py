"""The page that contains a report: the text between two marks is generated, the rest is written by hand."""

from . import table
from .processes import Failure

BEGIN, END = "<!-- {} -->", "<!-- /{} -->"


def fill(report, page):
    """Writes the report into the page. A report over TLS has its own pair of marks."""
    part = "measured over TLS" if report.about["tls"] else "measured"
    begin, end = BEGIN.format(part), END.format(part)
    before, begun, rest = page.read_text().partition(begin)
    _, ended, after = rest.partition(end)
    if not begun or not ended:
        raise Failure(f"{page} has no section {begin} … {end}")
    page.write_text(f"{before}{begin}\n\n{table.tables(report)}\n\n{end}{after}")
