"""One module a study: condition -> run config, its presets, and what the paper found."""
