"""The barrier protocol of the kernels that run in pairs of blocks, as a model that is driven through many schedules.

No device can show that a protocol never hangs; a model can be asked. Each role below is the kernel's own sequence of
waits, arrivals, copies and reads (playbook 40-pairs and gqa 09-pairs: produce, consume), one step at a time, in an
order drawn by lot or bent against one role. What is checked: somebody can always go on, a wait ends with the phase
that was meant, no copy lands in memory that is still read, and what is read is what was loaded.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

BUFFERS, TICKETS, HALF, GROUPS = 4, 8, 16, 2
Step = Callable[[], bool] | None  # None: go on at once; else go on when it says so
Role = Iterator[Step]


@dataclass
class Barrier:
    """An mbarrier: arrivals and bytes that are still missing from the phase in progress."""

    count: int
    phase: int = 0
    missing: int = 0
    bytes: int = 0

    def __post_init__(self) -> None:
        self.missing = self.count

    def arrive(self, promised: int = 0) -> None:
        self.bytes += promised
        self.missing -= 1
        assert self.missing >= 0, "more arrivals than the phase takes"
        self._turn()

    def complete(self, count: int) -> None:
        self.bytes -= count
        self._turn()

    def _turn(self) -> None:
        if self.missing == 0 and self.bytes == 0:
            self.phase, self.missing = self.phase + 1, self.count

    def passed(self, use: int) -> Callable[[], bool]:
        """Whether the wait for the end of phase `use` is over, by parity alone, as the hardware decides it."""

        def over() -> bool:
            if self.phase % 2 == use % 2:
                return False
            assert self.phase == use + 1, "a wait ended with the wrong phase"
            return True

        return over


@dataclass
class Block:
    """One block's shared memory and barriers."""

    kv_full: list[Barrier]
    kv_empty: list[Barrier]
    q_full: list[Barrier]
    q_empty: list[Barrier]
    ticket_full: list[Barrier]
    memory: list[list[object]] = field(default_factory=lambda: [[None, None] for _ in range(BUFFERS)])
    released: list[int] = field(default_factory=lambda: [0] * BUFFERS)
    tile: list[int] = field(default_factory=lambda: [-1, -1])  # steps; 0 is the end
    ticket: list[int] = field(default_factory=lambda: [-1] * TICKETS)
    turn: list[int] = field(default_factory=lambda: [0, 0])  # named barriers 3 and 4: arrivals of the other group


def block() -> Block:
    return Block(
        [Barrier(1) for _ in range(BUFFERS)],
        [Barrier(2 * GROUPS) for _ in range(BUFFERS)],
        [Barrier(1) for _ in range(2)],
        [Barrier(GROUPS) for _ in range(2)],
        [Barrier(1) for _ in range(TICKETS)],
    )


@dataclass
class Pair:
    """Two blocks, the work in order, and the copies in flight."""

    tiles: list[int]  # steps of each tile that this pair gets
    causal: bool  # tickets for the second block, and turns between the groups
    early: int | None = None  # the step at which the next tile's queries are loaded already
    blocks: list[Block] = field(default_factory=lambda: [block(), block()])
    flying: list[Callable[[], None]] = field(default_factory=list)

    def producer(self, rank: int) -> Role:
        mine, loads, tile = self.blocks[rank], 0, 0

        def load(what: object) -> Iterator[Step]:
            nonlocal loads
            slot, use = loads % BUFFERS, loads // BUFFERS
            yield mine.kv_empty[slot].passed(use - 1)
            mine.kv_full[slot].arrive(2 * HALF)
            self.flying.extend(self.landing(to, slot, use, rank, what) for to in self.blocks)
            loads += 1

        def draw(number: int) -> Iterator[Step]:
            slot, use = number % TICKETS, number // TICKETS
            if rank == 0:
                self.flying.append(self.telling(slot, number))
                return
            mine.ticket_full[slot].arrive(4)
            yield mine.ticket_full[slot].passed(use)
            assert mine.ticket[slot] == number, "a ticket was overwritten before it was read"

        def load_queries(steps: int) -> Iterator[Step]:
            nonlocal tile
            yield mine.q_empty[tile % 2].passed(tile // 2 - 1)
            mine.tile[tile % 2] = steps
            mine.q_full[tile % 2].arrive()
            tile += 1

        last: object = None
        for number, steps in enumerate(self.tiles):
            for step in range(steps):
                yield from load(("k", number, step))
                if step == 0 and tile == number:
                    yield from load_queries(steps)
                if last is not None:
                    yield from load(last)
                if step == 0 and self.causal:
                    yield from draw(number)
                if step == self.early and number + 1 < len(self.tiles):
                    yield from load_queries(self.tiles[number + 1])
                last = ("v", number, step)
        if last is not None:
            yield from load(last)
        yield mine.q_empty[tile % 2].passed(tile // 2 - 1)
        mine.tile[tile % 2] = 0
        mine.q_full[tile % 2].arrive()

    def landing(self, to: Block, slot: int, use: int, half: int, what: object) -> Callable[[], None]:
        """One half of a tile on its way to one block."""

        def land() -> None:
            assert to.released[slot] == GROUPS * use, "a copy landed in memory that is still read"
            assert to.kv_full[slot].phase == use, "bytes were counted for another phase"
            to.memory[slot][half] = what
            to.kv_full[slot].complete(HALF)

        return land

    def telling(self, slot: int, number: int) -> Callable[[], None]:
        def tell() -> None:
            other = self.blocks[1]
            other.ticket[slot] = number
            other.ticket_full[slot].complete(4)

        return tell

    def consumer(self, rank: int, group: int) -> Role:
        mine, ring, q = self.blocks[rank], 0, 0

        def arrived() -> Callable[[], bool]:
            return mine.kv_full[ring % BUFFERS].passed(ring // BUFFERS)

        def read(at: int, what: object) -> None:
            assert mine.memory[at % BUFFERS] == [what, what], f"{mine.memory[at % BUFFERS]} read for {what}"

        def release(at: int, what: object) -> None:
            read(at, what)  # until now it was read
            mine.released[at % BUFFERS] += 1
            for to in self.blocks:
                to.kv_empty[at % BUFFERS].arrive()

        def my_turn() -> Iterator[Step]:
            if self.causal:
                yield lambda: mine.turn[group] > 0
                mine.turn[group] -= 1

        def your_turn() -> None:
            if self.causal:
                mine.turn[1 - group] += 1
                assert mine.turn[1 - group] == 1, "a turn was given twice"

        yield mine.q_full[0].passed(0)
        steps, number, step, q_slot, storing = mine.tile[0], 0, 0, 0, False
        if steps == 0:
            return
        q = 1
        yield arrived()
        read(ring, ("k", 0, 0))
        release(ring, ("k", 0, 0))
        ring += 1
        if self.causal and group == 0:
            mine.turn[0] += 1
        yield arrived()
        while True:
            ends, now = step == steps - 1, steps
            if ends:
                if storing:
                    mine.q_empty[q_slot ^ 1].arrive()
                    storing = False
                yield mine.q_full[q % 2].passed(q // 2)
                now = mine.tile[q % 2]
                if now == 0:
                    break
            wanted_k = ("k", number + 1, 0) if ends else ("k", number, step + 1)
            k, ring = ring, ring + 1
            yield from my_turn()
            read(k, wanted_k)
            if storing:
                mine.q_empty[q_slot ^ 1].arrive()
                storing = False
            yield arrived()
            v, ring, wanted_v = ring, ring + 1, ("v", number, step)
            read(v, wanted_v)
            your_turn()
            yield None
            release(k, wanted_k)
            yield arrived()
            release(v, wanted_v)
            if ends:
                storing, steps, number, q_slot, q = True, now, number + 1, q % 2, q + 1
            step = 0 if ends else step + 1
        yield from my_turn()
        if self.causal and group == 0:
            mine.turn[1] += 1
        read(ring, ("v", number, step))


def run(pair: Pair, lot: random.Random, slow: int) -> None:
    """Everything to its end. `slow` is a role that moves only when no other can, or -1."""
    roles = [
        role for rank in (0, 1) for role in (pair.producer(rank), *(pair.consumer(rank, g) for g in range(GROUPS)))
    ]
    waits: list[Step] = [None] * len(roles)
    alive = set(range(len(roles)))
    late = lot.random() < 0.5  # copies take long, or not
    while alive or pair.flying:
        ready = [r for r in alive if waits[r] is None or waits[r]()]
        eager = [r for r in ready if r != slow] or ready
        if pair.flying and (not eager or (not late and lot.random() < 0.3)):
            pair.flying.pop(lot.randrange(len(pair.flying)))()
            continue
        assert eager, f"nobody can go on: {sorted(alive)} wait"
        chosen = lot.choice(eager)
        try:
            waits[chosen] = next(roles[chosen])
        except StopIteration:
            alive.remove(chosen)


@pytest.mark.parametrize("causal", [False, True], ids=["rows", "heads"])
@pytest.mark.parametrize("early", [None, 3], ids=["queries-in-time", "queries-early"])
@pytest.mark.parametrize("slow", range(-1, 6))
def test_pairs_of_blocks_never_hang_and_never_overwrite_what_is_read(causal, early, slow):
    lot = random.Random(f"{causal} {early} {slow}")
    for _ in range(40):
        tiles = [lot.choice((1, 1, 2, 3, 4, 5, 7)) for _ in range(lot.randrange(12))]
        run(Pair(tiles, causal, early), lot, slow)


def test_the_model_sees_queries_that_are_asked_for_too_early():
    with pytest.raises(AssertionError, match="nobody can go on"):
        run(Pair([5, 5, 5, 5], False, early=0), random.Random(1), -1)


def test_the_model_sees_a_release_that_tells_only_the_own_block():
    class Forgetful(Pair):
        def producer(self, rank: int) -> Role:
            for b in self.blocks:
                for barrier in b.kv_empty:
                    barrier.count = barrier.missing = GROUPS
            return super().producer(rank)

    with pytest.raises(AssertionError):
        for seed in range(50):
            run(Forgetful([3, 2, 5], False), random.Random(seed), 1)


def test_the_model_sees_too_few_places_for_tickets(monkeypatch):
    monkeypatch.setitem(globals(), "TICKETS", 1)
    with pytest.raises(AssertionError):
        for seed in range(200):
            run(Pair([1] * 10, True), random.Random(seed), 3)
