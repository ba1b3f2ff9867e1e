"""What can go wrong with a job's storage. Pure.

Messages are for the user: they name the field and the fix, and never hold a credential.
"""

from __future__ import annotations


class StorageError(Exception):
    """Base of all errors of this package."""


class NotFound(StorageError):
    """There is no object of that name."""


class AlreadyExists(StorageError):
    """There is one of that name already."""


class Refused(StorageError, ValueError):
    """The store will not do what is asked: credentials, permission, a missing bucket, a feature it lacks. Trying again is
    useless."""


class Unreachable(StorageError):
    """The store did not answer, or failed. Trying again may help; whether a write took place is not known."""


class Corrupt(StorageError):
    """An object is missing, torn, or not what its checksum says."""


class NotWhole(StorageError):
    """A save that is to be committed lacks something; it must not become visible."""


class Fenced(StorageError):
    """A newer attempt or epoch, or another job, owns the log: this writer stands down."""


class OwnedByAnother(Fenced, ValueError):
    """Another job has claimed the prefix."""


class AttemptTaken(Fenced):
    """The log holds this attempt, or a higher one, already. The job goes on with one above `attempt`."""

    def __init__(self, message: str, attempt: int) -> None:
        super().__init__(message)
        self.attempt = attempt
