"""The process of one tree in a comparison; run by `benchmarks.compare`, not imported.

`{"prepare": operation}` is answered by {} or {"fault": why it cannot be timed}, `{"sample": calls}` by
{"seconds": of a call}. What is timed is this tree's list of operations, whichever tree runs.
"""

import importlib.util
import json
import sys
from pathlib import Path


def main() -> None:
    """Answer until there are no more questions."""
    bench, site = map(Path, sys.argv[1:])
    use_bench_of(bench)

    import torch

    import sdfast
    from sdfast.bench import OPERATIONS, sample

    assert Path(sdfast.__file__).is_relative_to(site), f"{sdfast.__file__} is not in {site}"
    torch.set_grad_enabled(False)
    operation = None
    for line in sys.stdin:
        question = json.loads(line)
        if "prepare" in question:
            operation = None  # its tensors go before others come
            try:
                operation = OPERATIONS[question["prepare"]](torch.device("cpu"))
                if operation.settle is not None:
                    operation.settle()
                error = operation.error(operation.ours())
                answer = {"fault": f"WRONG, error {error:.0e}"} if error > operation.tolerance else {}
            except Exception as error:  # a revision may lack an operation, or an argument of it
                answer = {"fault": f"{type(error).__name__}: {error}"}
        else:
            operation.ours()  # the other tree has used the caches meanwhile
            if operation.settle is not None:
                operation.settle()
            answer = {"seconds": sample(operation.ours, question["sample"])}
        print(json.dumps(answer), flush=True)


def use_bench_of(folder: Path) -> None:
    """Have `sdfast.bench` come from a folder, whatever the tree itself has by that name."""
    import sdfast

    inside = {"submodule_search_locations": [str(folder)]}
    spec = importlib.util.spec_from_file_location("sdfast.bench", folder / "__init__.py", **inside)
    sys.modules["sdfast.bench"] = sdfast.bench = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)


if __name__ == "__main__":
    main()
