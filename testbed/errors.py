"""The errors of the test-bed: each says what went wrong and what to do about it."""


class TestbedError(Exception):
    """A service cannot be brought up, found or taken down.

    Args:
        problem: What went wrong, where.
        remedy: What the user can do about it.
    """

    __test__ = False  # pytest takes every Test* class for a test

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(f"{problem}\n  remedy:  {remedy}")
        self.problem, self.remedy = problem, remedy
