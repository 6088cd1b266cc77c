"""Pane: a titled, scrolling list of lines with a cursor. Panes for tables, text and plots build on it."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace

from textual import events
from textual.message import Message

from avo_tui.model.lines import EMPTY, Line, Row, Span, clip, fit, join, plain, spread, width_of
from avo_tui.model.plan import VIEWS
from avo_tui.model.snapshot import Snapshot
from avo_tui.model.view import View
from avo_tui.widgets.painted import Painted, Painting

_How = tuple[bool, int, bool, str]  # whether keys go to it, its width, whether it has an edge, what is marked in it
_Kept = tuple[Line, object, Painting]
_NONE = Row(EMPTY)
WORD = 24  # cells of a filter in a head with hardly any room


class Pane(Painted, can_focus=True):
    """`title` and `number` name it; `tabs` are the views that share its place; `edge` draws a line to its left."""

    DEFAULT_CSS = "Pane { background: $background; }"

    title = ""
    number = 0
    tabs: tuple[int, ...] = ()
    edge = False
    searches = False  # `/` finds in the text; else it filters the rows

    class Opened(Message):
        """Enter on a row: what it stands for."""

        def __init__(self, pane: Pane, key: Hashable) -> None:
            super().__init__()
            self.pane, self.key = pane, key

    class Chosen(Message):
        """A view was picked from a head with tabs, by mouse."""

        def __init__(self, view: int) -> None:
            super().__init__()
            self.view = view

    def __init__(self, id: str) -> None:
        super().__init__(id=id)
        self.snapshot: Snapshot | None = None
        self.view = View()
        self.rows: Sequence[Row] = ()
        self.top = 0
        self.cursor: Hashable | None = None
        self.placed_by_hand = False  # until then the cursor stays on the first row
        self._kept: dict[int, _Kept] = {}  # the visible lines as they were painted

    # What subclasses say.

    def build(self, snapshot: Snapshot, view: View) -> Sequence[Row]:
        """The rows for a moment; called when the moment, the size or the view changed."""
        raise NotImplementedError

    def badge(self) -> Line:
        """What the right end of the head says."""
        return ((f"/{self.view.filter}", "match"),) if self.view.filter else EMPTY

    def alive(self) -> bool:
        """Whether it is drawn as the pane that keys go to."""
        return self.has_focus

    def short_badge(self) -> Line:
        """The same where there is hardly room: only what must not be missed."""
        return clip(Pane.badge(self), WORD)

    # Drawing.

    @property
    def inner_width(self) -> int:
        """Cells for rows: without the edge and the scroll mark."""
        return max(self._given()[0] - int(self.edge) - 1, 1)

    @property
    def inner_height(self) -> int:
        """Lines for rows: without the head."""
        return max(self._given()[1] - 1, 1)

    _expected: tuple[int, int] | None = None

    def _given(self) -> tuple[int, int]:
        return self._expected or self._known

    _known = (0, 0)  # the size as of the last layout; asking Textual for it costs more than drawing a line

    def expect(self, width: int, height: int) -> None:
        """Be ready for a size that the next layout gives: a key may come before it, and needs rows to act on."""
        self._expected = (width, height) if (width, height) != self._known else None

    uses: tuple[str, ...] | None = None  # the parts of a moment that its rows depend on; None is all of them

    def show(self, snapshot: Snapshot) -> None:
        """Show a moment; rows are built again only when what they depend on changed."""
        self.snapshot = snapshot
        if not self.display:
            return
        inputs = self._inputs(snapshot)
        changed = inputs is None or inputs != self._built_from
        self._built_from = inputs  # also when equal: the next moment holds these very objects, and is told at a glance
        if changed:
            self.reload()

    _built_from: object = None

    def _inputs(self, snapshot: Snapshot) -> object:
        """What the rows depend on. Ages are shown in minutes, so the time counts in steps of twenty seconds."""
        if self.uses is None:
            return None
        parts = tuple(getattr(snapshot, name) for name in self.uses)
        return (snapshot.at, int(snapshot.taken_at // 20), parts, self.view, self._given(), self.edge, self.avo.ascii)

    def look(self, view: View) -> None:
        """Show the same moment in another way."""
        self.view = view
        self.reload()

    def reload(self) -> None:
        """Build the rows again and repaint what changed."""
        if self.snapshot is None or self._given()[0] <= 0:
            return
        self.rows, self._rows_for = self.build(self.snapshot, self._sized()), self._given()
        self._keep_cursor()
        self.repaint()

    _rows_for = (0, 0)

    def _sized(self) -> View:
        return replace(self.view, width=self.inner_width, height=self.inner_height, ascii=self.avo.ascii)

    def on_resize(self) -> None:
        """Rows depend on the width."""
        self._expected, self._known = None, (self.size.width, self.size.height)
        if self._rows_for != self._known or self._lines_for != self._known:
            self.reload()
            self.repaint(everything=True)

    def count(self) -> int:
        """How many rows there are."""
        return len(self.rows)

    def row(self, i: int) -> Row:
        """One row."""
        return self.rows[i]

    def key(self, i: int) -> Hashable | None:
        """One row's key."""
        return self.rows[i].key

    def paint(self, width: int, height: int) -> list[Painting]:
        """The head and the visible rows."""
        self.top = max(min(self.top, self.last_top()), 0)
        count, how = self.count(), (self.alive(), self.inner_width, self.edge, self.view.filter)
        kept, self._kept = self._kept, {}
        body = [self._body_line(y, count, how, kept) for y in range(height - 1)]
        return [(self._head(width), ""), *body]

    def last_top(self) -> int:
        """How far down it scrolls."""
        return self.count() - self.inner_height

    def _body_line(self, y: int, count: int, how: _How, kept: dict[int, _Kept]) -> Painting:
        """A row as it is shown; one that was shown in the same way before is not made again."""
        i = self.top + y
        row = self.row(i) if i < count else _NONE
        chosen, thumb = row.key is not None and row.key == self.cursor, self._thumb(y, count)
        wanted = (chosen, thumb, how)
        found = kept.get(id(row.line))
        if found is None or found[0] is not row.line or found[1] != wanted:
            found = (row.line, wanted, self._painted(self.decorate(i, row.line), chosen, thumb, how))
        self._kept[id(row.line)] = found
        return found[2]

    def _painted(self, line: Line, chosen: bool, thumb: Span, how: _How) -> Painting:
        alive, width, edge, _ = how
        if chosen and line and line[0][0][:1] == " ":
            line = (("▌", "accent" if alive else "dim"), (line[0][0][1:], line[0][1]), *line[1:])
        body = (*((("│", "faint"),) if edge else EMPTY), *fit(line, width), thumb)
        return (body, "select" if chosen and alive else "")

    def decorate(self, i: int, line: Line) -> Line:
        """A chance to mark matches in a visible line."""
        return line

    def _thumb(self, y: int, whole: int) -> Span:
        """The scroll mark in the last column."""
        room = self.inner_height
        if whole <= room:
            return (" ", "")
        size = max(room * room // whole, 1)
        start = min(round(self.top / (whole - room) * (room - size)), room - size)
        return ("┃", "dim") if start <= y < start + size else (" ", "")

    def _head(self, width: int) -> Line:
        focus = self.alive()
        rule = "accent" if focus and not self.palette.ansi else "faint"
        names = self._tab_names(width) if self.tabs else (self._label(self.number, self.title, chosen=focus),)
        start: Line = (("├" if self.edge else "─", "faint"), ("▌" if focus else " ", "accent"))
        left: Line = (*start, *join(names, (self._gap(width), "")), (" ", ""))
        badge = self.badge()
        if badge and width_of(left) + width_of(badge) + 3 > width:
            badge = self.short_badge()
        right: Line = ((" ", ""), *badge, (" ", "")) if badge else EMPTY
        return spread(left, clip(right, width // 2), width, fill=("─", rule if focus else "faint"))

    def _label(self, number: int, title: str, *, chosen: bool) -> Line:
        return (
            (f"{number} " if number else "", "dim" if chosen else "faint"),
            (title, "accent" if chosen else "head" if not self.tabs else "dim"),
        )

    def _gap(self, width: int) -> str:
        return "  " if width >= 90 else " "

    def _tab_names(self, width: int) -> tuple[Line, ...]:
        """The views by name; beside a filter the others only by number, where there is not room for both."""
        here = next((n for n in self.tabs if self.id in VIEWS[n][1] and VIEWS[n][1][0] == self.id), self.tabs[0])
        names = tuple(
            ((f"{n} ", "dim" if n == here else "faint"),
             (VIEWS[n][0], ("accent" if self.alive() else "strong") if n == here else "dim"))
            for n in self.tabs
        )  # fmt: skip
        needed = width_of((*join(names, (self._gap(width), "")), *self.short_badge())) + 6
        if not self.view.filter or needed <= width:
            return names
        return tuple(name if n == here else name[:1] for n, name in zip(self.tabs, names, strict=True))

    # Moving.

    def selectable(self) -> list[int]:
        """The places of rows with a key."""
        return [i for i in range(self.count()) if self.key(i) is not None]

    def place(self) -> int | None:
        """Where the cursor is."""
        if self.cursor is None:
            return None
        return next((i for i in range(self.count()) if self.key(i) == self.cursor), None)

    def _keep_cursor(self) -> None:
        """After a reload the cursor stays on its key; a lost one goes to the first row."""
        if not self.placed_by_hand or self.place() is None:
            keys = (self.key(i) for i in range(self.count()))
            self.cursor = next((key for key in keys if key is not None), None)

    def move(self, by: int) -> None:
        """Move the cursor by rows, or scroll where nothing can be selected."""
        found = self.selectable()
        here = self.place()
        if not found or here is None:
            self.scroll_rows(by)
            return
        at = max(0, min(found.index(here) + by, len(found) - 1))
        self.cursor, self.placed_by_hand = self.key(found[at]), at > 0
        if at == 0 and by < 0:
            self.top = 0
        self.reveal(found[at])
        self.repaint()

    def reveal(self, i: int) -> None:
        """Scroll so that a row is visible."""
        if i < self.top:
            self.top = i
        elif i >= self.top + self.inner_height:
            self.top = i - self.inner_height + 1

    def scroll_rows(self, by: int) -> None:
        """Scroll by lines."""
        self.top = max(0, min(self.top + by, max(self.count() - self.inner_height, 0)))
        self.repaint()

    def page(self, by: int) -> None:
        """Half a page."""
        self.move(by * max(self.inner_height // 2, 1))

    def edge_to(self, by: int) -> None:
        """To the first or the last row."""
        self.move(by * (self.count() + 1))

    def sideways(self, by: int) -> None:
        """Scroll to the side, where lines are longer than the pane."""

    def chosen(self) -> Hashable | None:
        """The key under the cursor."""
        return self.cursor

    def copied(self) -> str:
        """What `y` copies: the row under the cursor, else everything shown."""
        here = self.place()
        return plain(self.row(here).line).strip() if here is not None else self.text()

    def select(self, key: Hashable) -> bool:
        """Put the cursor on a key; whether it is there."""
        at = next((i for i in range(self.count()) if self.key(i) == key), None)
        if at is None:
            return False
        self.cursor, self.placed_by_hand = key, True
        self.reveal(at)
        self.repaint()
        return True

    # Focus and mouse.

    def watch_has_focus(self, has_focus: bool) -> None:
        """The head and the cursor show the focus: once it has changed, which is after the event."""
        super().watch_has_focus(has_focus)
        self.repaint()

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        """The wheel scrolls."""
        event.stop()
        self.scroll_rows(3)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        """The wheel scrolls."""
        event.stop()
        self.scroll_rows(-3)

    def on_click(self, event: events.Click) -> None:
        """A click selects a row, a second one opens it; on the head it picks a tab."""
        if event.y == 0:
            self._click_head(event.x)
            return
        i = self.top + event.y - 1
        key = self.row(i).key if i < self.count() else None
        if key is None:
            return
        again = key == self.cursor and event.chain > 1
        self.cursor, self.placed_by_hand = key, True
        self.repaint()
        if again:
            self.post_message(self.Opened(self, key))

    def _click_head(self, x: int) -> None:
        at = 2
        for n, line in zip(self.tabs, self._tab_names(self.size.width), strict=True) if self.tabs else ():
            wide = len(plain(line))
            if at <= x < at + wide:
                self.post_message(self.Chosen(n))
                return
            at += wide + len(self._gap(self.size.width))
