"""Writes the golden table of `tests/test_tables.py`: `python tests/golden/write.py`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from test_tables import GOLDEN, make_records

from analysis.summary import summarize
from analysis.tables import study_table

if __name__ == "__main__":
    summary = summarize(study_table(make_records(), "augmentation", "short")).drop(columns=["runs", "caution"])
    summary.to_csv(GOLDEN / "summary.csv", index=False, float_format="%.8g")
