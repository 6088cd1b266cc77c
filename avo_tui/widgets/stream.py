"""Streams: panes of blocks that grow at the end. They follow until you scroll up, and then say how much is new."""

from __future__ import annotations

import re
import time
from bisect import bisect_right
from collections.abc import Hashable, Iterable, Sequence
from operator import attrgetter

from avo_tui.model import output, transcript
from avo_tui.model.lines import EMPTY, Line, Row, Span, brief, clean, join, plain, wrap
from avo_tui.model.snapshot import Snapshot
from avo_tui.model.transcript import Block
from avo_tui.model.view import View
from avo_tui.widgets.pane import Pane
from engine.record.reader import Entry

KEEP, PRUNE_AT = 1000, 1600
HURRY_S = 3.0
PAGE = 400
MOST_PAGES = 25  # read at once for one key
_SEQ = attrgetter("seq")


class _Joined:
    """The rows of blocks in one list, as they are shown one way (`how`)."""

    def __init__(self, how: object = None) -> None:
        self.how, self.rows = how, list[Row]()
        self._blocks, self._starts = list[Block](), list[int]()

    def keep(self, blocks: Sequence[Block]) -> int:
        """Forget what does not stand at the beginning of `blocks`; returns how many of them are here."""
        old = self._blocks
        if blocks[: len(old)] == old:  # mostly, and soon seen: what is the same object is not looked into
            return len(old)
        same = next((i for i, (a, b) in enumerate(zip(old, blocks, strict=False)) if a is not b), None)
        same = len(blocks) if same is None else same
        del self.rows[self._starts[same] :], old[same:], self._starts[same:]
        return same

    def add(self, block: Block, rows: Sequence[Row]) -> None:
        """The rows of the next block."""
        self._blocks.append(block)
        self._starts.append(len(self.rows))
        self.rows += rows


class Stream(Pane):
    """Blocks, newest last. Subclasses turn entries into blocks and say what is live."""

    searches = True
    first = 150  # events to begin with

    def __init__(self, id: str) -> None:
        super().__init__(id=id)
        self.blocks: list[Block] = []
        self.following = True
        self.unseen = 0
        self.turned: set[int] = set()  # blocks folded the other way than they come
        self.all_open = False
        self.detached = False  # the loaded window does not reach the newest event
        self._first_seq = 0
        self._last_seq = 0
        self._at: int | None = None
        self._calls: dict[str, int] = {}
        self._cache: dict[int, tuple[Block, int, bool, list[Row]]] = {}
        self._live_rows = 0
        self._joined = _Joined()

    slots: tuple[str, ...] = ()  # the live slots that it shows

    def _inputs(self, snapshot: Snapshot) -> object:
        """What the rows depend on: of what is live, only its own part."""
        return (super()._inputs(snapshot), tuple(snapshot.slot(name) for name in self.slots))

    # Blocks.

    def take(self, entries: Iterable[Entry]) -> None:
        """Append the blocks of new entries."""
        raise NotImplementedError

    def live_lines(self, snapshot: Snapshot, width: int) -> list[Line]:
        """What is happening now, below the blocks."""
        return []

    def build(self, snapshot: Snapshot, view: View) -> Sequence[Row]:
        """All loaded lines; new ones are counted while you look further up."""
        self._update(snapshot)
        before = len(self.rows) - self._live_rows
        rows = self._block_rows(view)
        live = self.live_lines(snapshot, view.width) if snapshot.at is None else []
        self._live_rows = len(live)
        if not self.following and before > 0:
            self.unseen += max(len(rows) - before, 0) if self._grew else 0
        self._grew = False
        found = [*rows, *(Row(line, ("live", i)) for i, line in enumerate(live))]
        if self.following:
            self._follow_end(len(found), view.height)
        return found

    _grew = False
    _changed_at = 0.0
    _shape = (0, 0)

    def _follow_end(self, count: int, height: int) -> None:
        """Keep the end in sight.

        Lines that come one by one scroll one by one. When they come faster, a third of the pane is freed
        at once and then filled: scrolling costs the whole pane, a new line only itself.
        """
        flush, now = max(count - height, 0), time.monotonic()
        if (count, height) == self._shape:
            return
        if height != self._shape[1] or flush > self.top:
            hurried = height == self._shape[1] and now - self._changed_at < HURRY_S
            self.top = flush + height // 3 if hurried else flush
        self._shape, self._changed_at = (count, height), now

    def settle(self) -> None:
        """Once it is quiet, the last line stands at the bottom again."""
        flush = max(self.count() - self.inner_height, 0)
        if self.following and self.top != flush and time.monotonic() - self._changed_at > HURRY_S:
            self.top = flush
            self.repaint()

    def last_top(self) -> int:
        """While it follows, lines below the end may be empty."""
        return self.count() if self.following else super().last_top()

    def _update(self, snapshot: Snapshot) -> None:
        """Take what is new. A window that was opened elsewhere (`detached`) stays as it is until it is left."""
        tail = snapshot.tail
        if (snapshot.at is None) != (self._at is None) or snapshot.last_seq < self._last_seq:
            self._reset()
        self._at = snapshot.at
        if not tail or self.detached:
            return
        if tail[0].seq > self._last_seq + 1 and self.blocks:
            if not self.following:
                self.detached = True
                return
            self._reset()
        if tail[-1].seq <= self._last_seq:
            return
        new = tail[bisect_right(tail, self._last_seq, key=_SEQ) :]
        if not self.blocks:
            new = new[-self.first :]  # what lies above is read once somebody scrolls there
        if new:
            self._first_seq = self._first_seq or new[0].seq
            self._grew = True
            self._last_seq = new[-1].seq
            self.take(new)
            self._prune()

    def _reset(self) -> None:
        self.blocks, self._calls, self._cache, self._joined = [], {}, {}, _Joined()
        self._first_seq, self._last_seq, self.unseen = 0, 0, 0
        self.following, self.detached, self._shape = True, False, (0, 0)

    def _prune(self) -> None:
        if self.following and len(self.blocks) > PRUNE_AT:
            gone = len(self.blocks) - KEEP
            for block in self.blocks[:gone]:
                self._cache.pop(block.seq, None)
            del self.blocks[:gone]
            self._first_seq = self.blocks[0].seq
            self._calls = {c: i - gone for c, i in self._calls.items() if i >= gone}

    def _block_rows(self, view: View) -> list[Row]:
        """Every block's rows in one list, made again only from the first block on that changed."""
        joined, how = self._joined, (view.width, self.all_open, frozenset(self.turned))
        if joined.how != how:
            joined = self._joined = _Joined(how)
        for block in self.blocks[joined.keep(self.blocks) :]:
            joined.add(block, self._rows_of(block, view.width))
        return joined.rows

    def _rows_of(self, block: Block, width: int) -> list[Row]:
        unfolded = self.unfolded(block)
        kept = self._cache.get(block.seq)
        if kept and kept[0] is block and kept[1] == width and kept[2] == unfolded:
            return kept[3]
        shown = self.filled(block) if unfolded else block
        lines = transcript.lines_of(shown, width, unfolded=unfolded, stamp=width >= 60)
        rows = [Row(line, (block.seq, i)) for i, line in enumerate(lines)]
        self._cache[block.seq] = (block, width, unfolded, rows)
        return rows

    def filled(self, block: Block) -> Block:
        """A block as it is shown unfolded; a subclass may read its log."""
        return block

    def unfolded(self, block: Block) -> bool:
        """Whether a block's body is shown."""
        return block.folds and (block.open or self.all_open) != (block.seq in self.turned)

    def load_older(self) -> bool:
        """Load entries before the first loaded one, until some of them have blocks; whether any did."""
        for _ in range(MOST_PAGES):
            entries = self.avo.older(self._first_seq) if self._first_seq > 1 else []
            if not entries:
                return False
            self._first_seq = entries[0].seq
            later, self.blocks, calls, self._calls = self.blocks, [], self._calls, {}
            self.take(entries)
            gained = len(self.blocks)
            self.blocks += later
            self._calls = {c: i + gained for c, i in calls.items()}
            if gained:
                return True
        return False

    def load_newer(self) -> bool:
        """Load the entries after a detached window; whether there were any."""
        if not self.detached:
            return False
        entries = self.avo.newer(self._last_seq, self._at)
        if entries:
            self._last_seq = entries[-1].seq
            self.take(entries)
        if len(entries) < PAGE:
            self.detached = False
        return bool(entries)

    def jump(self, seq: int) -> None:
        """Open the window around an event, with the cursor on its first line that matches what is looked for."""
        around = self.avo.around(seq)
        if not around:
            return
        at = self._at
        self._reset()
        self._at, self.following, self.detached = at, False, True
        self._first_seq, self._last_seq = around[0].seq, around[-1].seq
        self.take(around)
        self._again()
        block = next((b for b in self.blocks if b.seq >= seq), self.blocks[-1] if self.blocks else None)
        if block is None:
            return
        pattern = self.pattern()
        if pattern and block.folds and not pattern.search(plain(block.head) + block.words) and not self.unfolded(block):
            self.turned ^= {block.seq}
            self._again()
        lines = [i for i in range(self.count()) if self._seq_at(i) == block.seq]
        hit = next((i for i in lines if pattern and pattern.search(plain(self.row(i).line))), lines[0] if lines else 0)
        self.top = max(hit - self.inner_height // 3, 0)
        self._go(hit)

    # Moving.

    def place(self) -> int | None:
        """Where the cursor is; a line that vanished counts as its block's nearest one."""
        found = super().place()
        if found is None and isinstance(self.cursor, tuple) and isinstance(self.cursor[0], int):
            seq = self.cursor[0]
            return next((i for i in range(self.count()) if self._seq_at(i) >= seq), None)
        return found

    def _seq_at(self, i: int) -> int:
        key = self.row(i).key
        return key[0] if isinstance(key, tuple) and isinstance(key[0], int) else 1 << 60

    def _keep_cursor(self) -> None:
        if self.following:
            self.cursor = None
        elif (at := self.place()) is not None:
            self.cursor = self.row(at).key

    def move(self, by: int) -> None:
        """Move by lines; upwards leaves the end, reaching the end follows again."""
        if self.following:
            if by >= 0:
                return
            self.following, self.unseen = False, 0
            self.cursor = self.row(self.count() - 1).key if self.count() else None
            by += 1
        here = self.place()
        here = self.count() - 1 if here is None else here
        wanted = here + by
        while wanted < 0 and self.load_older():
            before = self.count()
            self._again()
            wanted += self.count() - before
        while wanted >= self.count() and self.load_newer():
            self._again()
        if wanted >= self.count() - 1 and by > 0 and not self.detached:
            self.follow()
            return
        self._go(max(0, min(wanted, self.count() - 1)))

    def _go(self, at: int) -> None:
        if self.count():
            self.cursor = self.row(at).key
            self.reveal(at)
        self.repaint()

    def _again(self) -> None:
        if self.snapshot is not None:
            self.rows = self.build(self.snapshot, self._sized())

    def scroll_rows(self, by: int) -> None:
        """The wheel leaves the end upwards, and follows again when it reaches it."""
        end = max(self.count() - self.inner_height, 0)
        if by < 0 and self.following and end:
            self.following, self.unseen = False, 0
            self.cursor = self.row(self.count() - 1).key
        if by < 0 and self.top + by < 0 and self.load_older():
            before = self.count()
            self._again()
            self.top += self.count() - before
        self.top = max(0, min(self.top + by, end))
        if by > 0 and self.top >= end:
            if self.load_newer():
                self._again()
            elif not self.detached:
                self.follow()
                return
        self.repaint()

    def edge_to(self, by: int) -> None:
        """`g` goes to the first loaded line, `G` follows."""
        if by > 0:
            self.follow()
            return
        self.move(-1)
        self.load_older()
        self._again()
        self._go(0)

    def follow(self) -> None:
        """Back to the newest line."""
        if self.detached:
            self._reset()
            self._built_from = None
        self.following, self.unseen, self.cursor = True, 0, None
        self._shape = (0, 0)
        self.reload()

    def badge(self) -> Line:
        """FOLLOW, or how many new lines lie below."""
        if self.following:
            state: Line = (("FOLLOW ▼", "dim"),)
        else:
            state = (
                ((f" +{self.unseen} new ▼ ", "badge"),)
                if self.unseen
                else (("scrolled", "warn"), (" G follows", "dim"))
            )
        return join((super().badge(), state), ("  ", ""))

    def short_badge(self) -> Line:
        """Whether it follows, or how much is new; and what is looked for."""
        state: Line = (("▼", "dim"),) if self.following else ((f"+{self.unseen}", "badge"),)
        return join((super().short_badge(), state), ("  ", ""))

    # Folding and finding.

    def block_at(self, key: Hashable) -> Block | None:
        """The block of a line's key."""
        seq = key[0] if isinstance(key, tuple) else None
        return next((b for b in self.blocks if b.seq == seq), None)

    def fold(self) -> None:
        """Unfold or fold the block under the cursor (the newest that folds, while following)."""
        block = self.block_at(self.cursor) or next((b for b in reversed(self.blocks) if b.folds), None)
        if block is None or not block.folds:
            return
        if self.following:
            self.following, self.unseen = False, 0
            self.cursor = (block.seq, 0)
        self.turned ^= {block.seq}
        self.cursor = (block.seq, 0)
        self.reload()
        at = self.place()
        if at is not None:
            last = max((i for i in range(at, self.count()) if self._seq_at(i) == block.seq), default=at)
            self.reveal(min(last, at + self.inner_height - 2))
            self.reveal(at)
            self.repaint()

    def fold_all(self) -> None:
        """Unfold or fold every block."""
        self.all_open = not self.all_open
        self.turned.clear()
        self.reload()

    def find(self, by: int) -> bool:
        """Go to the next line (by=1) or the previous one (-1) that matches; whether there is one."""
        pattern = self.pattern()
        if pattern is None:
            return False
        here = self.place()
        here = (self.count() if by < 0 else -1) if here is None else here
        order = range(here + by, -1 if by < 0 else self.count(), by)
        at = next((i for i in order if pattern.search(plain(self.row(i).line))), None)
        if at is None and (seq := self._further(by)) is not None:
            self.jump(seq)
            return True
        if at is None:
            return False
        self.following, self.unseen = False, 0
        self._go(at)
        return True

    def _further(self, by: int) -> int | None:
        """The nearest event beyond the loaded ones that has the words looked for."""
        if by < 0:
            return self.avo.search_near(self.view.filter, before=self._first_seq) if self.blocks else None
        return self.avo.search_near(self.view.filter, after=self._last_seq) if self.detached else None

    def pattern(self) -> re.Pattern[str] | None:
        """What is being looked for: a regular expression, or its letters when it is none."""
        text = self.view.filter
        if not text:
            return None
        flags = 0 if any(c.isupper() for c in text) else re.IGNORECASE
        try:
            return re.compile(text, flags)
        except re.error:
            return re.compile(re.escape(text), flags)

    def decorate(self, i: int, line: Line) -> Line:
        """Mark what was looked for."""
        pattern = self.pattern()
        return line if pattern is None else marked(line, pattern)

    def copied(self) -> str:
        """The block under the cursor, in full."""
        block = self.block_at(self.cursor)
        if block is None:
            return self.text()
        return "\n".join(x for x in (plain(block.head), block.words, self.filled(block).body) if x)


def marked(line: Line, pattern: re.Pattern[str]) -> Line:
    """A line with its matches in the role `match`."""
    text = plain(line)
    cuts = [m.span() for m in pattern.finditer(text) if m.end() > m.start()]
    if not cuts:
        return line
    out: list[Span] = []
    at = 0
    for part, role in line:
        for i, letter in enumerate(part, at):
            here = "match" if any(a <= i < b for a, b in cuts) else role
            if out and out[-1][1] == here:
                out[-1] = (out[-1][0] + letter, here)
            else:
                out.append((letter, here))
        at += len(part)
    return tuple(out)


class Transcript(Stream):
    """What the operator says and does."""

    title, number = "Transcript", 2
    uses, slots = ("tail", "state"), ("stream", "activity")

    def take(self, entries: Iterable[Entry]) -> None:
        """Events as blocks; a tool's end completes its start."""
        for entry in entries:
            transcript.add(self.blocks, self._calls, entry)

    def live_lines(self, snapshot: Snapshot, width: int) -> list[Line]:
        """The words in progress, and what runs."""
        lines: list[Line] = []
        stream = brief(snapshot.slot("stream")).strip()
        if stream and snapshot.state in ("running", "stopping"):
            lines += [(("  " + text, ""),) for text in wrap(stream + " ▌", width - 2)]
        if snapshot.state in ("running", "stopping") and (activity := snapshot.slot("activity")):
            lines.append((("⋯ ", "info"), (clean(activity), "info")))
        return lines


class Output(Stream):
    """Build and profile output."""

    title, number = "Output", 4
    first = 400  # most of them leave no output
    uses, slots = ("tail", "state"), ("output",)

    def take(self, entries: Iterable[Entry]) -> None:
        """Logs as blocks."""
        self.blocks += output.output_blocks(entries)

    def filled(self, block: Block) -> Block:
        """With its log read from the run's artifacts."""
        from dataclasses import replace

        text = output.read_log(self.avo.folder.artifacts, block.log) if block.log else ""
        return replace(block, body=text or block.body)

    def live_lines(self, snapshot: Snapshot, width: int) -> list[Line]:
        """The output in progress."""
        text = brief(snapshot.slot("output")).rstrip()
        if not text or snapshot.state not in ("running", "stopping"):
            return []
        now: Line = (("⋯ now", "info"),) if text else EMPTY
        return [now, *((("  " + line, "dim"),) for line in wrap(text, width - 2)[-200:])]
