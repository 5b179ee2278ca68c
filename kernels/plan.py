"""Calls that are planned once: what to launch on what, kept for further calls with tensors of the same form.

Planning a call, and Triton's own search for the kernel that fits the arguments, take ten times as long as to launch it.
"""

from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor
from triton.compiler import CompiledKernel

_hooks = triton.knobs.runtime
Form = tuple[object, ...]  # what decides how a call is launched
FORMS = 4096  # plans that are kept; whoever has more forms than that starts anew


def _called(hook: Any) -> Any:
    """Return a hook of Triton's, None where it is a chain of none."""
    return hook if getattr(hook, "calls", hook) else None


class Step(NamedTuple):
    """One launch of a compiled kernel."""

    kernel: CompiledKernel
    run: Any  # the launcher
    function: int
    metadata: tuple[Any, ...]
    programs: int
    arguments: list[Any]  # as the kernel takes them, but for the pointers that a call has
    places: list[tuple[int, int]]  # of arguments, and which of the pointers go there
    # Of arguments that are tuples: which pointer, or None, and what else.
    places_in: list[tuple[int, list[tuple[int | None, Any]]]]

    def launch(self, pointers: list[int], stream: int) -> None:
        """Launch on the memory that these pointers name."""
        arguments = self.arguments.copy()
        for i, index in self.places:
            arguments[i] = pointers[index]
        for i, values in self.places_in:
            arguments[i] = tuple([value if index is None else pointers[index] for index, value in values])
        enter, leave, told = _called(_hooks.launch_enter_hook), _called(_hooks.launch_exit_hook), None
        if enter is not None:
            told = self.kernel.launch_metadata((self.programs, 1, 1), stream, *arguments)
        self.run(self.programs, 1, 1, stream, self.function, self.metadata, told, enter, leave, *arguments)


class Plan:
    """What a call launches. The first call makes it, by launching; others repeat it."""

    def __init__(self, *tensors: Tensor | None):
        self._known = [(x, i) for i, x in enumerate(tensors)]  # and their pointers
        self._spaces: list[tuple[int, ...]] = []
        self._views: list[tuple[int, int]] = []
        self._steps: list[Step] = []
        self.is_whole = True  # all that was launched can be launched again

    def space(self, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """Return a workspace of float64."""
        assert not self._views, "views come last"
        space = like.new_empty(shape, dtype=torch.float64)
        self._known.append((space, len(self._known)))
        self._spaces.append(shape)
        return space

    def view(self, view: Tensor, of: Tensor) -> Tensor:
        """Take note that a tensor is a view of one of the call's."""
        if view is not of:
            self._views.append((self._pointer(of), view.data_ptr() - of.data_ptr()))
            self._known.append((view, len(self._known)))
        return view

    def launch(self, kernel: triton.JITFunction, programs: int, *given: Any, **constants: Any) -> None:
        """Launch a kernel and keep how."""
        compiled = kernel[(programs,)](*given, **constants)
        if not isinstance(compiled, CompiledKernel):  # the interpreter runs it, or it is compiled only
            self.is_whole = False
            return
        arguments = [*given, *(constants[name] for name in kernel.arg_names[len(given) :])]
        places: list[tuple[int, int]] = []
        places_in: list[tuple[int, list[tuple[int | None, Any]]]] = []
        for i, x in enumerate(arguments):
            if isinstance(x, Tensor):
                places.append((i, self._pointer(x)))
            elif isinstance(x, tuple) and any(isinstance(v, Tensor) for v in x):
                places_in.append((i, [(self._pointer(v), None) if isinstance(v, Tensor) else (None, v) for v in x]))
        for i, _ in (*places, *places_in):
            arguments[i] = None
        own = compiled.run, compiled.function, compiled.packed_metadata
        self._steps.append(Step(compiled, *own, programs, arguments, places, places_in))

    def _pointer(self, tensor: Tensor) -> int:
        """Return the place of a tensor's pointer."""
        return next(i for x, i in self._known if x is tensor)

    def finish(self) -> "Plan":
        """Let go of the tensors of the first call."""
        self._known = []
        return self

    def repeat(self, first: Tensor, *others: Tensor | None) -> None:
        """Launch what was planned on other tensors of the same form."""
        pointers = [0 if x is None else x.data_ptr() for x in (first, *others)]
        spaces = [first.new_empty(shape, dtype=torch.float64) for shape in self._spaces]
        pointers += [space.data_ptr() for space in spaces]
        pointers += [pointers[i] + offset for i, offset in self._views]
        stream = triton.runtime.driver.active.get_current_stream(first.get_device())
        for step in self._steps:
            step.launch(pointers, stream)


_plans: dict[Form, Plan] = {}


def form_of(*tensors: Tensor | None) -> Form:
    """Return what of tensors decides how a kernel works on them."""
    who = [id(x) for x in tensors]
    form: list[object] = [who.index(i) for i in who]  # one tensor in two places is another case than two
    for x in tensors:
        if x is None:
            form.append(None)
        else:
            form += (x.shape, x.stride(), x.dtype, x.get_device(), x.data_ptr() % 16)
    return tuple(form)


def find(form: Form, x: Tensor) -> Plan | None:
    """Return the plan for a form, if there is one and the device of x is the current one."""
    plan = _plans.get(form)
    if plan is not None and x.is_cuda and x.get_device() != torch.cuda.current_device():
        return None
    return plan


def keep(form: Form, plan: Plan) -> None:
    """Keep a plan that can be repeated."""
    if plan.is_whole:
        if len(_plans) >= FORMS:
            _plans.clear()
        _plans[form] = plan.finish()
