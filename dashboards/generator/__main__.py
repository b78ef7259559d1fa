"""Writes dashboards/*.json; with --check only says whether they are what would be written."""

import difflib
import sys
import warnings
from pathlib import Path

# The SDK prefers the schema that only Grafana's own API takes; files and imports take this one.
warnings.filterwarnings("ignore", category=DeprecationWarning)

from grafana_foundation_sdk.cog.encoder import JSONEncoder  # noqa: E402

from . import database, overview, relay  # noqa: E402

FOLDER = Path(__file__).resolve().parent.parent


def main() -> int:
    stale = 0
    for module in (overview, relay, database):
        text = JSONEncoder(sort_keys=True, indent=2).encode(module.dashboard()) + "\n"
        path = FOLDER / f"{module.__name__.rsplit('.', 1)[-1]}.json"
        before = path.read_text() if path.exists() else ""
        if "--check" not in sys.argv[1:]:
            path.write_text(text)
        elif before != text:
            stale += 1
            diff = difflib.unified_diff(
                before.splitlines(), text.splitlines(), str(path), "generated", lineterm="", n=1
            )
            print("\n".join(list(diff)[:40]))
    if stale:
        print("Out of date. Run dashboards/check --write and commit what it changes.")
    return 1 if stale else 0


sys.exit(main())
