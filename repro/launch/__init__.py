"""From a sweep file to runs: which ones are missing, in parents-first order, and the processes that make them."""
