"""How a run trains and what it measures."""

from dataclasses import dataclass

from experiments.debias.world import CAMERAS

STARTS = ("scratch", "fine-tuned")


@dataclass(frozen=True)
class Settings:
    """The same for all rows.

    Args:
        world: whose clips, by name.
        camera: "still" or "moving".
        start: "scratch", or "fine-tuned" on few clips, the blocks having been trained on clips without a shortcut.
        steps: steps of training from scratch.
        tuning_steps: steps of fine-tuning.
        tuning_clips: clips to fine-tune on; a training from scratch never sees one twice.
        trunk_steps: steps of the training before.
        batch_size: clips in a step.
        learning_rate: of Adam at the first step; falls linearly to 0.
        tuning_rate: that of fine-tuning.
        report_every: steps between the reports that make the curve and guide channels.
        report_pairs: pairs of each of these reports; the same pairs every time.
        test_pairs: pairs of the report at the end, others.
        test_clips: clips of each test.
        curves: whether there are reports in rows that are not guided by them, too.
    """

    world: str = "shapes"
    camera: str = "still"
    start: str = "scratch"
    steps: int = 300
    tuning_steps: int = 100
    tuning_clips: int = 200
    trunk_steps: int = 400
    batch_size: int = 32
    learning_rate: float = 1e-2
    tuning_rate: float = 5e-4
    report_every: int = 20
    report_pairs: int = 128
    test_pairs: int = 512
    test_clips: int = 512
    curves: bool = True

    @property
    def name(self) -> str:
        """What the tables call it."""
        return f"{self.camera} camera, {'from scratch' if self.start == 'scratch' else self.start}"

    @property
    def length(self) -> int:
        """Steps of the training that is compared."""
        return self.steps if self.start == "scratch" else self.tuning_steps

    @property
    def rate(self) -> float:
        """Its learning rate."""
        return self.learning_rate if self.start == "scratch" else self.tuning_rate


FOUR = tuple((camera, start) for start in STARTS for camera in CAMERAS)  # the first is that of the curves
