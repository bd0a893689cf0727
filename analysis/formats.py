"""How quantities and settings are written in the tables that compare methods."""

from analysis.statistics.intervals import Interval
from repro.experiments.method_tries import Try


def percent(value: Interval) -> str:
    """`97.1 ± 0.2`, in percent."""
    return f"{100 * value.estimate:.1f}" + (f" ± {100 * value.std:.1f}" if value.trials > 1 else "")


def plain(value: Interval) -> str:
    """`0.123 ± 0.004`."""
    return f"{value.estimate:.3f}" + (f" ± {value.std:.3f}" if value.trials > 1 else "")


def with_interval(value: Interval) -> str:
    """`+11.2 (+9.8 to +12.6)`, in percentage points."""
    return f"{100 * value.estimate:+.1f} ({100 * value.low:+.1f} to {100 * value.high:+.1f})"


def whole(value: Interval) -> str:
    """A whole number, for seconds."""
    return f"{value.estimate:.0f}"


def describe(setting: Try) -> str:
    """The options that were set for the method: `weight 10`."""
    options = setting.objective.model_dump(exclude={"name"}, exclude_unset=True)
    named = [f"{name.replace('_', ' ')} {value}" for name, value in options.items()]
    return ", ".join([*named, *([f"learning rate × {setting.slower}"] if setting.slower != 1 else [])])
