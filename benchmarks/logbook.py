"""What has happened so far, an event a line: the state of a run, which outlives a process that a kernel takes down."""

import json
from pathlib import Path

# What a row says where nothing else is known. `over` holds how many times the seconds of ours, by name, it takes.
_ROW = {"operation": "", "shape": "", "dtype": "", "ours": False, "seconds": None, "bytes": 0, "over": {}}
_ROW |= {"error": None, "launches": None, "host": None, "status": "timed", "note": ""}


class Logbook:
    """Events of a run in the order in which they happened, in a file; what it holds already is read.

    A stage is begun and ended; which candidate is being tried within it says whom to leave out where it never ends.
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

    def add_row(self, case: str, candidate: str, **known) -> None:
        """Write what is known of a candidate, as JSON values."""
        self.add("row", case=case, candidate=candidate, **{**_ROW, **known})

    def judge(self, target, shape: str, measured, note: str = "", candidate: str = "sdfast", selected: bool = True):
        """Write how a spread of figures meets a target; None was wrong. Who is not selected decides nothing."""
        figure = {"target": target.label, "shape": shape, "reach": target.reach, "unit": target.unit.strip()}
        figure |= {"note": note, "candidate": candidate, "selected": selected}
        verdict = "WRONG" if measured is None else target.verdict(measured)
        self.add("judged", **figure, measured=measured and measured.to_dict(), verdict=verdict)

    def of(self, event: str) -> list[dict]:
        """Return the events of a kind, without their kind."""
        return [{k: v for k, v in each.items() if k != "event"} for each in self.events if each["event"] == event]

    def is_done(self, stage: str) -> bool:
        """Tell whether a stage has ended, or is not to be tried again."""
        ends = self.of("end") + self.of("left_out") + [each for each in self.of("died") if each["candidate"] is None]
        return any(each["stage"] == stage for each in ends)

    def banned(self, stage: str) -> dict[str, str]:
        """Return the candidates that have taken a process down in a stage, and how."""
        return {each["candidate"]: each["note"] for each in self.of("died") if each["stage"] == stage}

    def unfinished(self) -> tuple[str, str | None] | None:
        """Return the stage that was begun and not ended, and who was being tried in it; None where there is none."""
        for each in reversed(self.events):
            if each["event"] in ("end", "died", "left_out"):
                break
            if each["event"] in ("begin", "trying"):
                return each["stage"], each.get("candidate")
        return None
