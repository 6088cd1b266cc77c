"""The review of one version or attempt: diff, scores with error bars, integrity, profile, story and sources."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import replace

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding
from textual.geometry import NULL_OFFSET, NULL_SPACING, Region, Size
from textual.layout import ArrangeResult, Layout, WidgetPlacement
from textual.screen import Screen
from textual.widget import Widget

from avo_tui.keys import REVIEW, Key
from avo_tui.model import diff, plan, review, transcript
from avo_tui.model.lines import EMPTY, Line, Row, plain
from avo_tui.model.review import Base, Review, Subject
from avo_tui.model.snapshot import Snapshot
from avo_tui.model.view import View
from avo_tui.screens.acting import Acting
from avo_tui.widgets.bars import KeyBar
from avo_tui.widgets.painted import Painted, Painting
from avo_tui.widgets.pane import Pane
from avo_tui.widgets.prompt import Prompt
from avo_tui.widgets.stream import marked
from engine.record.errors import AvoError
from engine.record.frozen import dataclass
from engine.record.reader import Reader

TABS = ("diff", "scores", "integrity", "profile", "story", "source")
TITLES = ("Diff", "Scores", "Integrity", "Profile", "Story", "Source")
SPLIT = 150  # columns from which scores and integrity stand beside the rest
INTEGRITY = 16  # lines of an integrity report
_BASES: tuple[Base, ...] = ("parent", "seed", "best", "marked")


@dataclass(frozen=True, slots=True)
class Look:
    """How the review is looked at."""

    side_by_side: bool = False
    ignore_space: bool = False
    base: Base = "parent"


class Head(Painted):
    """Two lines about the subject."""

    def paint(self, width: int, height: int) -> Sequence[Painting]:
        """The subject's header."""
        screen = self.screen
        assert isinstance(screen, ReviewScreen)
        if screen.review is None:
            return [(((" reading…", "dim"),), "bar"), (EMPTY, "")]
        lines = review.header(screen.review, self.avo.snapshot, width)
        return [(lines[0], "bar"), (lines[1], "")]


class Part(Pane):
    """One tab: rows computed from the review."""

    searches = True

    def __init__(self, name: str, title: str, number: int) -> None:
        super().__init__(name)
        self.title, self.number = title, number
        self.left = 0

    def build(self, snapshot: Snapshot, view: View) -> Sequence[Row]:
        """The rows of this tab."""
        screen = self.screen
        assert isinstance(screen, ReviewScreen)
        if screen.review is None:
            return [Row((("  reading…", "dim"),))]
        return _BUILD[str(self.id)](screen.review, snapshot, replace(view, order=self.left), screen.look)

    def _tab_names(self, width: int) -> tuple[Line, ...]:
        return tuple(
            ((f"{n} ", "dim" if n == self.number else "faint"),
             (TITLES[n - 1], ("accent" if self.alive() else "strong") if n == self.number else "dim"))
            for n in self.tabs
        )  # fmt: skip

    def badge(self) -> Line:
        """For the diff: against what, and how much."""
        screen = self.screen
        found = super().badge()
        if self.id != "diff" or not isinstance(screen, ReviewScreen) or not (screen.review and screen.review.base):
            return found
        added, removed = diff.counts(screen.review.diff)
        return (*found, (" " if found else "", ""), ("against ", "dim"), (screen.review.base, "strong"),
                (f"  +{added} ", "good"), (f"−{removed}", "bad"))  # fmt: skip

    def short_badge(self) -> Line:
        """The same in fewer words."""
        found = self.badge()
        return tuple(span for span in found if span != ("against ", "dim"))

    def sideways(self, by: int) -> None:
        """Scroll to the side."""
        self.left = max(self.left + by * 8, 0)
        self.reload()

    def decorate(self, i: int, line: Line) -> Line:
        """Mark what was looked for."""
        pattern = self._pattern()
        return line if pattern is None else marked(line, pattern)

    def _pattern(self) -> re.Pattern[str] | None:
        return re.compile(re.escape(self.view.filter), re.IGNORECASE) if self.view.filter else None

    def jump(self, by: int, wanted: Callable[[Row], bool]) -> bool:
        """Move to the next row that is wanted."""
        here = self.place()
        here = -1 if here is None else here
        order = range(here + by, -1 if by < 0 else self.count(), by)
        at = next((i for i in order if wanted(self.row(i))), None)
        if at is None:
            return False
        self.cursor, self.placed_by_hand = self.row(at).key, True
        self.top = max(at - 2, 0) if not self.top <= at < self.top + self.inner_height - 4 else self.top
        self.repaint()
        return True

    def find(self, by: int) -> bool:
        """Move to the next match."""
        pattern = self._pattern()
        return pattern is not None and self.jump(by, lambda row: bool(pattern.search(plain(row.line))))


def _diff(r: Review, s: Snapshot, view: View, look: Look) -> list[Row]:
    if not r.diff:
        why = r.trouble or (
            "the seed has nothing before it; 6 shows its source" if r.parent is None else "the sources are the same"
        )
        return [Row(((f"  {why}", "dim"),))]
    lines = diff.parse(r.diff_text, ignore_space=True) if look.ignore_space else r.diff
    draw = diff.side_by_side if look.side_by_side else diff.unified
    note = [Row(((f"  {r.trouble}", "warn"),))] if r.trouble else []
    return [*note, *draw(lines, view.width, colours=r.colours, left=view.order)]


def _story(r: Review, s: Snapshot, view: View, look: Look) -> list[Row]:
    rows = [
        Row(line, (block.seq, i))
        for block in transcript.blocks_of(r.story)
        for i, line in enumerate(transcript.lines_of(block, view.width, unfolded=block.kind == "said"))
    ]
    return rows or [Row((("  nothing was recorded about how it came to be", "dim"),))]


_BUILD: dict[str, Callable[[Review, Snapshot, View, Look], list[Row]]] = {
    "diff": _diff,
    "scores": lambda r, s, v, _: review.bars(r, s, v),
    "integrity": lambda r, s, v, _: review.integrity(r, v.width),
    "profile": lambda r, s, v, _: review.text_rows(
        "\n\n".join(x for x in (r.profile, r.log) if x), "no profile and no log were kept for this one"
    ),
    "story": _story,
    "source": lambda r, s, v, _: review.source_rows(r, v.order, v.width),
}


class _Floor(Layout):
    """Header, parts, last line."""

    name = "review-floor"

    def arrange(self, parent: Widget, children: list[Widget], size: Size, greedy: bool = True) -> ArrangeResult:
        """Regions for the widgets that are shown."""
        assert isinstance(parent, ReviewScreen)
        places = parent.regions(size)
        return [
            WidgetPlacement(places[c.id or ""], NULL_OFFSET, NULL_SPACING, c, 0) for c in children if c.id in places
        ]


class ReviewScreen(Acting, Screen[None]):
    """Everything about one version or attempt."""

    BINDINGS = [Binding(k.keys, k.action, k.help, id=k.id, show=False) for k in REVIEW]  # noqa: RUF012
    AUTO_FOCUS = None

    def __init__(self, subject: Subject, *, tab: str = "diff") -> None:
        super().__init__()
        self.subject = subject
        self.review: Review | None = None
        self.tab = tab
        self.look = Look()
        self.parts = {name: Part(name, title, n) for n, (name, title) in enumerate(zip(TABS, TITLES, strict=True), 1)}
        self._floor = _Floor()
        self._cache: dict[tuple[Subject, Base, int | None], Review] = {}

    @property
    def layout(self) -> Layout:
        """The floor plan."""
        return self._floor

    def compose(self) -> ComposeResult:
        """Header, parts, last line."""
        yield Head(id="head")
        yield from self.parts.values()
        yield KeyBar(id="keys")
        yield Prompt(id="prompt")

    def on_mount(self) -> None:
        """Read the subject."""
        self.query_one(Prompt).display = False
        for part in self.parts.values():
            part.snapshot = self.avo.snapshot
        self._arrange()
        self.set_focus(self.parts[self.tab], scroll_visible=False)
        self._show_keys()
        self._read()

    # Layout.

    @property
    def split(self) -> bool:
        """Whether scores and integrity stand to the left."""
        return self.app.size.width >= SPLIT

    def _places(self, size: Size) -> list[plan.Placed]:
        body = size.height - 3
        tabs = tuple(range(1, len(TABS) + 1))
        if not self.split:
            return [plan.Placed(self.tab, 0, 0, size.width, body, tabs)]
        wide = size.width * 2 // 5
        count = len(self.review.score.configurations) if self.review and self.review.score else 8
        # Every baseline below each configuration, where the integrity report still has its place.
        high = count * (1 + len(self.avo.snapshot.baselines)) + 5
        if high > body - INTEGRITY:
            high = min(body * 3 // 5, count + 5)
        main = self.tab if self.tab not in ("scores", "integrity") else "diff"
        return [
            plan.Placed("scores", 0, 0, wide, high),
            plan.Placed("integrity", 0, high, wide, body - high),
            plan.Placed(main, wide, 0, size.width - wide, body, (1, 4, 5, 6), edge=True),
        ]

    def regions(self, size: Size) -> dict[str, Region]:
        """Where each widget lies, by id."""
        found = {p.pane: Region(p.x, p.y + 2, p.width, p.height) for p in self._places(size)}
        found["head"] = Region(0, 0, size.width, 2)
        found["prompt" if self.query_one(Prompt).display else "keys"] = Region(0, size.height - 1, size.width, 1)
        return found

    def _arrange(self) -> None:
        placed = {p.pane: p for p in self._places(self.app.size)}
        for name, part in self.parts.items():
            part.display = name in placed
            if name in placed:
                part.tabs, part.edge = placed[name].tabs, placed[name].edge
        self.query_one(KeyBar).display = not self.query_one(Prompt).display
        self.refresh(layout=True)

    def on_resize(self, event: events.Resize) -> None:
        """Another size may be another layout."""
        self._arrange()
        if isinstance(self.focused, Part) and not self.focused.display:
            self.set_focus(self.parts[self.tab if not self.split else "scores"], scroll_visible=False)

    # Reading.

    def _read(self) -> None:
        self.run_worker(self._load(self.subject, self.look.base, self.avo.marked), exclusive=True, exit_on_error=False)

    async def _load(self, subject: Subject, base: Base, mark: int | None) -> None:
        key = (subject, base, mark)
        if key not in self._cache:
            try:
                self._cache[key] = await asyncio.to_thread(self._load_now, subject, base, mark)
            except (AvoError, OSError, sqlite3.Error) as error:
                if subject == self.subject:
                    self.review, self._failed = Review(subject, trouble=self.avo.snapshot.trouble or str(error)), True
                    self._shown()
                return
        if subject != self.subject:
            return
        self.review = self._cache[key]
        self._shown()
        if not self.review.colours:
            self.review = self._cache[key] = await asyncio.to_thread(review.coloured, self.review)
            self._shown()

    def _load_now(self, subject: Subject, base: Base, mark: int | None) -> Review:
        with Reader(self.avo.folder.journal) as reader:
            return review.load(self.avo.folder, reader, subject, base, mark)

    def _shown(self) -> None:
        self._arrange()
        self.query_one(Head).repaint()
        for part in self.parts.values():
            part.reload()
            part.repaint(everything=True)
        self._show_keys()

    # Moments.

    def show_moment(self, snapshot: Snapshot) -> None:
        """The run went on: the header may say so, and verdicts arrive."""
        for part in self.parts.values():
            part.snapshot = snapshot
        for head in self.query(Head):
            head.repaint()
        self._show_keys()
        if self._failed and not snapshot.trouble:
            self._failed = False
            self._read()

    _failed = False

    def tick(self) -> None:
        """Messages end."""
        self._show_keys()

    def _show_keys(self) -> None:
        hints = [k for k in REVIEW if k.hint and self.avo.offers(k)]
        for bar in self.query(KeyBar):
            bar.show(hints, self.avo.message)

    # What is under the cursor.

    @property
    def table(self) -> Sequence[Key]:
        """The keys that count here."""
        return REVIEW

    def chosen_version(self) -> int | None:
        """The reviewed version."""
        return self.subject.version

    @property
    def part(self) -> Part:
        """The focused tab."""
        return self.focused if isinstance(self.focused, Part) else self.parts[self.tab]

    # Actions.

    def action_view(self, number: int) -> None:
        """Show a tab."""
        name = TABS[number - 1]
        if not (self.split and name in ("scores", "integrity")):
            self.tab = name
        self._arrange()
        self.parts[name].reload()
        self.set_focus(self.parts[name], scroll_visible=False)

    def on_pane_chosen(self, message: Pane.Chosen) -> None:
        """A tab was picked with the mouse."""
        self.action_view(message.view)

    def action_focus_pane(self, by: int) -> None:
        """The next tab."""
        here = TABS.index(str(self.part.id))
        self.action_view((here + by) % len(TABS) + 1)

    def action_move(self, by: int) -> None:
        """One row."""
        self.part.move(by)

    def action_page(self, by: int) -> None:
        """Half a page."""
        self.part.page(by)

    def action_edge(self, by: int) -> None:
        """The first or the last row."""
        self.part.edge_to(by)

    def action_sideways(self, by: int) -> None:
        """To the side."""
        self.part.sideways(by)

    def action_hunk(self, by: int) -> None:
        """The next or previous hunk."""
        self.action_view(1)
        if not self.parts["diff"].jump(by, lambda row: isinstance(row.key, tuple) and row.key[0] == "hunk"):
            self.avo.say("no further hunk" if by > 0 else "no earlier hunk")

    def action_leap(self, by: int) -> None:
        """The next or previous version (or attempt)."""
        s = self.avo.snapshot
        if self.subject.version is not None:
            numbers = [v.version for v in s.versions]
            here = self.subject.version
            wanted = [n for n in numbers if n > here] if by > 0 else [n for n in reversed(numbers) if n < here]
            subject = Subject(version=wanted[0]) if wanted else None
        else:
            number = (self.subject.attempt or 0) + by
            subject = Subject(attempt=number) if s.tries and 0 <= number <= s.tries[-1].attempt else None
        if subject is None:
            self.avo.say("there is none further")
            return
        self.subject = subject
        self._read()

    def action_base(self) -> None:
        """Compare with the parent, the seed, the best, or the marked version."""
        at = _BASES.index(self.look.base) + 1
        choices = [b for b in _BASES if b != "marked" or self.avo.marked is not None]
        self.look = replace(self.look, base=choices[at % len(choices)])
        self._read()

    def action_side(self) -> None:
        """Unified or side by side."""
        self.look = replace(self.look, side_by_side=not self.look.side_by_side)
        self.action_view(1)

    def action_space(self) -> None:
        """Whether changes of blanks count."""
        self.look = replace(self.look, ignore_space=not self.look.ignore_space)
        self.action_view(1)

    def action_mark(self) -> None:
        """Mark the reviewed version."""
        if self.subject.version is not None:
            self.avo.mark(self.subject.version)

    def action_back(self) -> None:
        """Drop what was looked for, else go back to the room."""
        if self.part.view.filter:
            self.part.look(replace(self.part.view, filter=""))
        else:
            self.dismiss(None)

    def action_copy(self) -> None:
        """Copy the diff, or this tab's text."""
        r = self.review
        if r is not None and self.part.id == "diff" and r.diff_text:
            self.avo.copy_text(r.diff_text)
        else:
            self.avo.copy_text("\n".join(plain(self.part.row(i).line).rstrip() for i in range(self.part.count())))

    def action_editor(self) -> None:
        """Open the sources, or the diff, in $EDITOR; what is changed there is not kept."""
        r = self.review
        if r is None:
            return
        if self.part.id != "diff" and r.files:
            path = self._file_here()
            self.avo.edit(r.files[path], f"{r.subject.name}-{path.replace('/', '-')}")
        else:
            self.avo.edit(r.diff_text, f"{r.subject.name}.diff")

    def _file_here(self) -> str:
        """The source file under the cursor; the first one elsewhere."""
        files = self.review.files if self.review else {}
        key = self.part.chosen() if self.part.id == "source" else None
        named = [part for part in key if part in files] if isinstance(key, tuple) else []
        return str(named[0] if named else next(iter(files)))

    def action_find(self) -> None:
        """Ask what to find."""
        prompt = self.query_one(Prompt)
        prompt.ask("find", "find: ", self.part.view.filter)
        self._asker = self.part
        prompt.display = True
        self._arrange()
        prompt.focus_input()

    _asker: Part | None = None

    def action_export(self) -> None:
        """Ask where to write the sources."""
        if self.review is None or self.subject.version is None:
            self.avo.say("only versions can be exported; this one was never committed", "warn")
            return
        prompt = self.query_one(Prompt)
        prompt.ask(
            "export",
            f"export v{self.subject.version} to a new directory: ",
            f"./{self.avo.folder.name}-v{self.subject.version}",
        )
        self._asker = self.part
        prompt.display = True
        self._arrange()
        prompt.focus_input()

    def on_prompt_answered(self, message: Prompt.Answered) -> None:
        """A line was typed, or given up."""
        self.query_one(Prompt).display = False
        self._arrange()
        part = self._asker or self.part
        self.set_focus(part, scroll_visible=False)
        if message.purpose == "find":
            part.look(replace(part.view, filter=message.value or ""))
            if message.value and not part.find(1) and not part.find(-1):
                self.avo.say(f"no {message.value!r} here", "warn")
        elif message.value and self.subject.version is not None:
            self.avo.export(self.subject.version, message.value)

    def action_next_match(self) -> None:
        """The next match below."""
        self._find(1)

    def action_previous_match(self) -> None:
        """The next match above."""
        self._find(-1)

    def _find(self, by: int) -> None:
        if not self.part.find(by):
            self.avo.say("no further match" if self.part.view.filter else "nothing to find: / asks for it")

    def hints(self) -> list[Key]:
        """The keys of the last line."""
        return [k for k in REVIEW if k.hint]
