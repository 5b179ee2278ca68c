"""Who measures what: every batch once, in the same tree, and a slow process holds up nobody."""

import heapq
import random

import pytest
import torch

from sdfast.measurement.dealing import Dealing
from sdfast.measurement.numbers import Numbers
from sdfast.measurement.pieces import Piece, Pieces, Plan
from sdfast.statistics import CoMoments

KEY = "layer", 0


class Together:
    """Processes that share a store, all of them in this one."""

    def __init__(self, store, rank, world):
        self.store, self.rank, self.world, self.asked = store, rank, world, 0

    def tell(self, key, value):
        self.store[key] = value

    def told(self, keys):
        self.asked += 1
        return [self.store[key] for key in keys]

    def exchange(self, key, expected, value):
        self.asked += 1
        if self.store[key] == expected:
            self.store[key] = value
        return self.store[key]


def simulated(plan, seconds, started=frozenset()):
    """Let processes that take so many seconds a batch measure by a clock; return when the last is done, and all asked.

    Also: which parts each has measured.
    """
    store, world = {}, len(seconds)
    processes = [Together(store, rank, world) for rank in range(world)]
    dealt = [Dealing(Pieces(plan), set(started), process, as_asked=True) for process in processes]
    batches = [dealing.batches() for dealing in dealt]
    clock = [(0.0, rank) for rank in range(world)]
    measured, end = [[] for _ in range(world)], 0.0
    while clock:
        now, rank = heapq.heappop(clock)
        found = next(batches[rank], None)
        if found is not None:
            measured[rank].append(found[1])
            end = max(end, now + seconds[rank])
            heapq.heappush(clock, (now + seconds[rank], rank))
    return end, sum(process.asked for process in processes), measured


@pytest.mark.parametrize(("world", "each"), [(2, 100), (4, 100), (4, 1000), (64, 100)])
def test_a_process_ten_times_slower_costs_little(world, each):
    plan = Plan.of(world * each, world, strided=False)
    for slow in (0, world // 2, world - 1)[: 1 if world > 9 else 3]:
        seconds = [10.0 if rank == slow else 1.0 for rank in range(world)]
        end, _, measured = simulated(plan, seconds)
        assert sorted(number for own in measured for number in own) == list(range(world * each))
        ideal = plan.batches / (world - 1 + 0.1)
        assert end <= 1.15 * ideal, f"process {slow} of {world}: {end} instead of {ideal}"


@pytest.mark.parametrize("seed", range(20))
def test_every_batch_is_dealt_once_whatever_the_processes_do(seed):
    draw = random.Random(seed)
    world, batches = draw.randint(2, 9), draw.randint(1, 3000)
    plan = Plan.of(batches, world, strided=False)
    started = {part for part in range(plan.parts) if draw.random() < draw.choice((0, 0.5))}
    _, asked, measured = simulated(plan, [draw.expovariate(1) + 1e-3 for _ in range(world)], started)
    left = [number for part in range(plan.parts) if part not in started for number in plan.numbers(part)]
    assert sorted(number for own in measured for number in own) == left
    assert asked <= plan.parts + 40 * world


@pytest.mark.parametrize("batches", [1, 2, 7, 128, 1000, 1001])
@pytest.mark.parametrize("strided", [False, True])
def test_a_plan_has_every_batch_once(batches, strided):
    plan = Plan.of(batches, 3, strided)
    assert sorted(number for part in range(plan.parts) for number in plan.numbers(part)) == list(range(batches))
    assert Plan.of(batches, 1, False) == Plan.of(batches, 1, True)


def state_of(number):
    state, x = CoMoments(3), torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(number))
    state.update(x[0], x[0] + x[1], torch.tensor([0, 1, 1, 0]))
    return state


@pytest.mark.parametrize("parts", [1, 2, 7, 16, 21])
def test_the_tree_is_the_same_in_whatever_order_parts_are_done(parts):
    plan, found = Plan(parts, parts, False), []
    for seed in range(5):
        pieces, order = Pieces(plan), list(range(parts))
        random.Random(seed).shuffle(order)
        for part in order:
            piece = pieces.of(part)
            piece.states[KEY] = state_of(part)
            piece.add(part)
            pieces.done(part)
        nodes = [(place, list(piece.held), piece.states[KEY].moments) for place, piece in sorted(pieces.nodes.items())]
        assert len(nodes) == parts.bit_count()
        found.append(nodes)
    for nodes in found[1:]:
        for (place, held, moments), (first, first_held, first_moments) in zip(nodes, found[0], strict=True):
            assert place == first and held == first_held and torch.equal(moments, first_moments)


def test_what_is_of_another_plan_is_not_measured_again():
    foreign = [Piece(Numbers.of([4, 5]), {KEY: state_of(4)}), Piece(Numbers.of([0, 1]), {KEY: state_of(0)})]
    pieces = Pieces(Plan(8, 4, False), foreign, Numbers.of([0, 1, 4, 5]))
    assert list(pieces.base.held) == [0, 1, 4, 5] and int(pieces.base.states[KEY].count.sum()) == 8
    assert [list(pieces.missing(part)) for part in range(4)] == [[], [2, 3], [], [6, 7]]


def test_layers_of_other_sizes_do_not_merge():
    one, other = Piece(Numbers.of([0]), {KEY: CoMoments(3)}), Piece(Numbers.of([1]), {KEY: CoMoments(4)})
    with pytest.raises(ValueError, match="layer 'layer': expected 3 channels everywhere, got 4 elsewhere"):
        one.take(other)


@pytest.mark.parametrize("seed", range(30))
def test_numbers_are_a_set(seed):
    draw = random.Random(seed)
    one = sorted(draw.sample(range(60), draw.randint(0, 30)))
    two = sorted(set(range(draw.randint(0, 60), 60, draw.randint(1, 5))) - set(one))
    a, b = Numbers.of(one), Numbers.of(two)
    for found in (a | b, b | a, Numbers.from_json((a | b).to_json())):
        assert list(found) == sorted(one + two) and len(found) == len(one) + len(two)
        assert [number in found for number in range(70)] == [number in one + two for number in range(70)]
    assert list(a) == one and list(b) == two, "a union leaves both as they were"


@pytest.mark.parametrize(
    "rows",
    [7, [7], [[0, 2]], [[0, 2, 0]], [[5, 5, 1]], [[0, 2, -1]], [[3, 5, 1], [4, 6, 1]], [[-2, 1, 1]], [[0, 2.5, 1]]],
)
def test_what_are_no_numbers_is_refused(rows):
    with pytest.raises(ValueError, match="expected ranges of batches"):
        Numbers.from_json(rows)
