"""Refuses words that readers stumble over; `make lint` runs it.

    python docs/scripts/check_words.py

A user, a competitor or a program is "they" or "it". The field's word comes before an old or a
private one. To quote a word, put `# words: ok` at the end of the line.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

WORDS = {
    r"he|his|him|himself": "they, their, them (or it)",
    r"anew|afresh": "again",
    r"likewise": "also, or name the thing",
    r"mend|mends|mended|mending": "fix",
    r"of then": "at that time",
    r"of one's own": "custom",
    r"nobody|somebody|whoever": "no one, someone, anyone who; or name who",
    r"for ever": "without end",
    r"told": "said, reported, given",
    r"forth and back": "forward and backward",
    r"names to RLlib": "registers with RLlib",
    r"sees besides": "also sees",
    r"given back": "returned, or freed",
    r"what disappointed": "limitations",
    r"brings what it needs": "installs the dependencies",
    r"went on after": "recovered from",
}
"""Pattern (whole words, any case): what to write."""

SUFFIXES = (".md", ".py", ".toml", ".yaml", ".yml", ".html")
PATTERN = re.compile("|".join(rf"\b(?:{words})\b" for words in WORDS), re.IGNORECASE)


def stumbles(path: Path) -> list[str]:
    """Lines of a file that hold one of the words, with what to write."""
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        for match in PATTERN.finditer("" if line.endswith("# words: ok") else line):
            word = match.group().lower()
            better = next(use for words, use in WORDS.items() if re.fullmatch(words, word))
            found.append(f"{path}:{number}: {word!r}; write: {better}")
    return found


def main() -> int:
    """Check all tracked files; return the exit code."""
    names = subprocess.run(["git", "ls-files"], check=True, capture_output=True, text=True).stdout
    paths = [Path(name) for name in names.splitlines() if name.endswith(SUFFIXES)]
    files = [path for path in paths if path.is_file() and path.name != Path(__file__).name]
    found = [line for path in files for line in stumbles(path)]
    print("\n".join(found) or f"{len(files)} files read; every word is plain")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
