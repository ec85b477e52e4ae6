"""The pages that contain reports: the text between two marks is generated, the rest is written by hand."""

from . import comparison, table
from .processes import Failure

BEGIN, END = "<!-- {} -->", "<!-- /{} -->"


def fill(report, doc):
    """Writes the report into its page in this directory: between marks for TLS, for a day's work, or for all else."""
    if report.is_day:
        return put(doc / "comparison.md", "day", comparison.comparison(report))
    part = "measured over TLS" if report.about["tls"] else "measured"
    put(doc / "performance.md", part, table.tables(report))


def put(page, part, text):
    begin, end = BEGIN.format(part), END.format(part)
    before, begun, rest = page.read_text().partition(begin)
    _, ended, after = rest.partition(end)
    if not begun or not ended:
        raise Failure(f"{page} has no section {begin} … {end}")
    page.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}")
