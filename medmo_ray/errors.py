"""The errors that medmo-ray raises on purpose.

Each message says what was given, what is allowed and what to do. All of them pickle, so that they reach the driver from
a Ray worker as themselves.
"""


class MedmoError(Exception):
    """Root of every error that medmo-ray raises itself."""


class ConfigError(MedmoError, ValueError):
    """A recipe, an override or a command line that cannot be run as given."""


class DataError(MedmoError, ValueError):
    """Data that is missing, unreadable or not what it claims to be."""


class ClusterError(MedmoError, RuntimeError):
    """The Ray cluster cannot do, or stopped doing, what the run needs."""


class TrainingError(MedmoError, RuntimeError):
    """A training run that cannot go on: a loss that is not finite, a rank that stalls, weights that do not arrive."""
