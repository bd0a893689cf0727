"""From a sweep file to runs: which are missing, in parent-first order, and the processes that make them."""
