"""Errors that a user can fix: one line that names the value and what to change.

- `UserError`: the base of them all; the command line prints its message and exits with code 2
- `Interrupted`: a signal ended the work; no error, but its end all the same
- `NonFiniteInputError`: NaN or infinity reached a model
"""

__all__ = ["Interrupted", "NonFiniteInputError", "UserError"]


class UserError(ValueError):
    """A value given by the user is wrong; the message is one line and says how to fix it."""


class NonFiniteInputError(UserError):
    """An observation, previous action or previous reward is NaN or infinite."""


class Interrupted(Exception):
    """A signal stopped the work in order; the message says how to go on."""
