"""The studies, a module each: settings such as `pool=0.25` -> the config of a run, and what the paper found."""
