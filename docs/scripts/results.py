"""Writes the tables of docs/results from the JSON files beside them: `make results`.

    python docs/scripts/results.py            # writes the pages
    python docs/scripts/results.py --check    # exit code 1 if a page is not current

A page marks each table by its name: `<!-- table NAME -->` before it and `<!-- end -->` after it.
The JSON files are what `rllib-seq bench ... --json` wrote; the page shows the command.
"""

from __future__ import annotations

import re
import sys

import result_learning
import result_speed
from result_format import RESULTS

TABLES = result_learning.TABLES | result_speed.TABLES
MARKED = re.compile(r"(<!-- table (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def current(text: str) -> str:
    """A page with its tables as the JSON files have them now."""
    return MARKED.sub(lambda mark: f"{mark[1]}\n{TABLES[mark[2]]()}\n\n{mark[3]}", text)


def main() -> int:
    """Write the pages, or check them."""
    check, docs, outdated = "--check" in sys.argv, RESULTS.parent, 0
    for page in sorted(docs.rglob("*.md")):
        text = page.read_text(encoding="utf-8")
        if (new := current(text)) == text:
            continue
        outdated += 1
        if not check:
            page.write_text(new, encoding="utf-8")
        print(f"{page.relative_to(docs)}: {'run make results' if check else 'written'}")
    return 1 if check and outdated else 0


if __name__ == "__main__":
    sys.exit(main())
