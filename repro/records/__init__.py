"""Compact records of finished runs: the only source of every table and figure.

A record holds a run's config, metrics and hardware, and its network's predictions for each test example (top class,
confidence, NLL, and KL to teachers), but no weights and only a few logits, to be drawn. Records come from a folder of
run directories (`folder.py`) or from a compact export of it (`export.py`), with the same content.
"""

from repro.records.export import write_export
from repro.records.folder import RunFolder
from repro.records.merged import Disagreement, disagreements, left_out, open_records
from repro.records.record import Pair, Predictions, Record, Records

__all__ = [
    "Disagreement",
    "Pair",
    "Predictions",
    "Record",
    "Records",
    "RunFolder",
    "disagreements",
    "left_out",
    "open_records",
    "write_export",
]
