"""The errors a user meets: each says what went wrong, where, and what to do about it."""

from nanolake import redact


class NanolakeError(Exception):
    """Base of all errors that are printed without a traceback; no message holds a credential.

    Attributes:
        cause: What kind of failure it is, see `causes`.
    """

    cause = "bug"

    def __init__(self, message: str = "") -> None:
        super().__init__(redact.secrets(message))


class InputError(NanolakeError):
    """An input file cannot be trusted or read.

    Args:
        file: Logical name of the file (sample or DID).
        replica: Path or URL that was tried.
        problem: What is wrong with it.
        remedy: What the user can do about it.
        cause: What is to blame: `input`, the file itself; `storage`, where it is; or `disk`, the
            scratch space that it is copied to.
    """

    def __init__(
        self, file: str, replica: str, problem: str, remedy: str, *, cause: str = "input"
    ) -> None:
        super().__init__(f"{file}: {problem}\n  replica: {replica}\n  remedy:  {remedy}")
        self.file, self.replica, self.problem, self.remedy = file, replica, problem, remedy
        self.cause = cause


class LakeError(NanolakeError):
    """The lake refuses, cannot be reached, or holds something else than it should.

    Args:
        what: DID, RSE, account or server that it is about.
        problem: What is wrong.
        remedy: What the user can do about it.
    """

    cause = "storage"

    def __init__(self, what: str, problem: str, remedy: str) -> None:
        super().__init__(f"{what}: {problem}\n  remedy:  {remedy}")
        self.what, self.problem, self.remedy = what, problem, remedy


class CredentialError(LakeError):
    """A credential is missing, cannot be used, or storage refuses it.

    Args:
        what: The kind of credential and the file or variable that holds it; never its content.
        problem: What is wrong.
        remedy: What the user can do about it.
    """

    cause = "credential"


class EmbargoError(LakeError):
    """Embargoed data would be seen by somebody who must not see them.

    Args:
        what: Sample, DID, file or place that it is about.
        problem: What is wrong.
        remedy: What the user can do about it.
    """

    cause = "credential"


class BooksError(NanolakeError):
    """The events of the catalogue, those read and those booked are not the same number."""

    cause = "input"


class EngineError(NanolakeError):
    """The event loop failed, or its compiled program could not be built.

    Args:
        message: What is wrong, and the remedy.
        cause: What kind of failure it is, see `causes`.
    """

    def __init__(self, message: str, *, cause: str = "bug") -> None:
        super().__init__(message)
        self.cause = cause
