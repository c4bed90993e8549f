"""Collects what is wrong with many cases, and says it in one line."""


class Complaints:
    """What is wrong, and where; used as a context, it fails at the end if anything is.

    The first line of what it says has what is wrong, which the table shows; the others tell where.
    """

    def __init__(self) -> None:
        self._where: dict[str, list[str]] = {}

    def __enter__(self) -> "Complaints":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None and self._where:
            details = [f"{what}: {', '.join(dict.fromkeys(where))}" for what, where in self._where.items()]
            raise AssertionError("\n".join(["; ".join(self._where), *details]))

    def add(self, what: str, where: object) -> None:
        self._where.setdefault(what, []).append(str(where))
