"""Speed as ratios against stated baselines, measured in one run."""
