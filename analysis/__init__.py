"""From run records to the paper's figures and tables, ours beside theirs: one module each, listed in `catalogue.py`."""
