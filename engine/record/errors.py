"""Errors for people. Each says what, where and what to do, in one line.

AvoError                 ours to report; the command line exits with `exit_code`
├── UsageError           the call was wrong (2)
├── ConfigError          config.toml or a problem.toml cannot be used (2)
├── RunNotFound          no such run, version or attempt (2)
├── JournalError         the journal cannot be opened, read or written (2)
│   ├── JournalNewer     written by a newer AVO
│   └── RunLocked        another engine owns the run
├── LineageError         the lineage's repository cannot be used (2)
├── ScorerError          the scorer itself failed; never a candidate's fault (2)
├── OperatorError        the operator cannot work: no key, unknown model, no room (2)
└── Refused              a command was understood and declined, with the reason (1)

A candidate's failure is never one of these: it is a Score with a stage and a reason.
"""


class AvoError(Exception):
    """Something a person must read. `str()` is the one line they see."""

    exit_code = 2


class UsageError(AvoError):
    """The command line was called in a way that cannot work."""


class ConfigError(AvoError):
    """A configuration or problem file has an unknown key or an impossible value."""


class RunNotFound(AvoError):
    """A run, version or attempt that was named does not exist."""


class JournalError(AvoError):
    """The journal cannot be opened, read or written."""


class JournalNewer(JournalError):
    """The journal was written by a newer AVO than this one."""


class RunLocked(JournalError):
    """Another engine already owns this run."""


class LineageError(AvoError):
    """The lineage's repository is missing, damaged, or not in the state that was asked for."""


class ScorerError(AvoError):
    """The scorer failed on its own account: no compiler, no device, a bad request, a dead host."""


class OperatorError(AvoError):
    """The operator cannot work as configured: no key, a refused key, an unknown model, a window too small."""


class Refused(AvoError):
    """A command was understood and declined; the reason is the message."""

    exit_code = 1
