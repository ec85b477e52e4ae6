"""The page that shows a report: the text between two marks is the report's, the rest is written by hand."""

from . import table
from .processes import Failure

BEGIN, END = "<!-- {} -->", "<!-- /{} -->"


def fill(report, page):
    """Writes the report into the page: one over TLS has a place of its own."""
    part = "measured over TLS" if report.about["tls"] else "measured"
    begin, end = BEGIN.format(part), END.format(part)
    before, begun, rest = page.read_text().partition(begin)
    _, ended, after = rest.partition(end)
    if not begun or not ended:
        raise Failure(f"{page} has no {begin} … {end} to be filled")
    page.write_text(f"{before}{begin}\n\n{table.tables(report)}\n\n{end}{after}")
