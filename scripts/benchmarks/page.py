"""The page that shows a report: the text between two marks is the report's, the rest is written by hand."""

from . import table
from .processes import Failure

BEGIN, END = "<!-- measured -->", "<!-- /measured -->"


def fill(report, page):
    """Writes the report into the page."""
    text = page.read_text()
    before, begun, rest = text.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not begun or not ended:
        raise Failure(f"{page} has no {BEGIN} … {END} to be filled")
    page.write_text(f"{before}{BEGIN}\n\n{table.tables(report)}\n\n{END}{after}")
