"""How far a job is: a bar on a terminal, and a line now and then in a file or a log."""

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tqdm import tqdm

_SECONDS = 10.0  # from one line to the next
_LINE = "{l_bar} {n_fmt}/{total_fmt}{unit} [{elapsed}<{remaining}, {rate_fmt}{postfix}]"


def progress_bar(total: int | None, unit: str, progress: bool | str = True, initial: int = 0) -> "tqdm[Any]":
    """Return a progress bar of tqdm on stderr; where that is no terminal, one that prints a line every ten seconds.

    Args:
        total: how many there are, or None.
        unit: of what.
        progress: False shows nothing; a string is the title.
        initial: how many are done.

    >>> with progress_bar(8, "pairs", progress=False) as bar:
    ...     bar.update(8)
    """
    from tqdm import tqdm  # only here: who measures no model needs none

    class Lines(tqdm):  # type: ignore[type-arg]  # it takes arguments for type checkers only
        shown: float = -1

        def display(self, *_: Any, **__: Any) -> None:
            self.shown = self.n
            self.fp.write(f"{self}\n")
            self.fp.flush()

        def close(self) -> None:
            if not self.disable:
                self.disable = True
                self._instances.discard(self)  # type: ignore[attr-defined]
                if self.shown != self.n:
                    self.display()

    title = progress if isinstance(progress, str) else None
    settings: dict[str, Any] = {"total": total, "unit": f" {unit}", "desc": title, "initial": initial}
    settings["disable"] = not progress
    if sys.stderr.isatty():
        bar: tqdm[Any] = tqdm(dynamic_ncols=True, **settings)
        return bar
    lines = Lines(mininterval=_SECONDS, maxinterval=2 * _SECONDS, bar_format=_LINE, delay=1e-9, **settings)
    if progress and initial:
        lines.display()  # where a resumed job goes on
    return lines
