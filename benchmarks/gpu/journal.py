"""What has happened so far, an event a line: the state of a run, which outlives a process that a kernel takes down."""

import json
from pathlib import Path


class Journal:
    """Events of a run in the order in which they happened.

    A stage is begun and ended; which candidate is being tried within it says whom to leave out where it never ends.

    Args:
        path: the file; what it holds already is read.
    """

    def __init__(self, path: Path):
        self.path = path
        self.events: list[dict] = []
        self.reload()

    def reload(self) -> None:
        """Read what other processes have added; a line that is not whole is none."""
        lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True) if self.path.exists() else []
        self.events = [json.loads(line) for line in lines if line.endswith("\n")]

    def add(self, event: str, **fields) -> None:
        """Write an event."""
        self.events.append({"event": event, **fields})
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(self.events[-1]) + "\n")

    def of(self, event: str) -> list[dict]:
        """Return the events of a kind, without their kind."""
        return [{k: v for k, v in each.items() if k != "event"} for each in self.events if each["event"] == event]

    def is_done(self, stage: str) -> bool:
        """Tell whether a stage has ended, or is not to be tried again."""
        return any(
            each["stage"] == stage
            and (each["event"] in ("end", "left_out") or (each["event"] == "died" and each["candidate"] is None))
            for each in self.events
            if each["event"] in ("end", "left_out", "died")
        )

    def banned(self, stage: str) -> dict[str, str]:
        """Return the candidates that have taken a process down in a stage, and how."""
        return {each["candidate"]: each["note"] for each in self.of("died") if each["stage"] == stage}

    def unfinished(self) -> tuple[str, str | None] | None:
        """Return the stage that was begun and not ended, and who was being tried in it; None where there is none."""
        found = None
        for each in self.events:
            if each["event"] == "begin":
                found = each["stage"], None
            elif each["event"] == "trying":
                found = each["stage"], each["candidate"]
            elif each["event"] in ("end", "died", "left_out"):
                found = None
        return found
