"""What is known of finished runs, compactly: the one source of every table and figure.

A record holds a run's config, metrics and hardware, and what its network said about each test example (top class,
confidence, NLL, and KL to teachers), but neither weights nor logits. Records come from a folder of run directories
(`folder.py`) or from a compact export of it (`export.py`), and say the same either way.
"""

from repro.records.export import write_export
from repro.records.folder import RunFolder
from repro.records.merged import Disagreement, disagreements, open_records
from repro.records.record import Pair, Predictions, Record, Records

__all__ = [
    "Disagreement",
    "Pair",
    "Predictions",
    "Record",
    "Records",
    "RunFolder",
    "disagreements",
    "open_records",
    "write_export",
]
