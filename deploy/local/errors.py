"""What can go wrong with the local stack, each with what to do about it."""


class MeshError(Exception):
    """A failure that its reader can do something about.

    `message` says what is wrong and `remedy` what to do.
    """

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy


class PartMissing(MeshError):
    """A program that comes with a wheel is not installed."""

    def __init__(self, part: str, package: str) -> None:
        super().__init__(
            f"{part} is not installed: the package {package} is missing.",
            "Run `make install`.",
        )


class DataFolderBroken(MeshError):
    """The data folder cannot be used as it is."""


class PortTaken(MeshError):
    """Another program listens where a part should."""


class StartFailed(MeshError):
    """A part did not become ready."""


class NotRunning(MeshError):
    """No mesh runs from this data folder."""

    def __init__(self, folder: object) -> None:
        super().__init__(
            f"No mesh runs from {folder}.",
            "Start it with `mesh up --detach`, or name its data folder with --data.",
        )
