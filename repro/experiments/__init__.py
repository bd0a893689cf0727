"""One module per study: condition -> run config, its presets, and what the paper found."""
