"""How a command says that a run failed."""


class RunError(RuntimeError):
    """The run failed though its input was good."""
