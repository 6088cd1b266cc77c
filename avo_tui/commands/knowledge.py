"""The knowledge base from the command line: search, list, show, and pages of one's own."""

from __future__ import annotations

import sys
from argparse import Namespace
from dataclasses import asdict

from avo_tui.commands.named import print_json, run_of
from avo_tui.tables import clean, one_line, table


def usage(_: Namespace) -> int:
    """`avo knowledge` alone: what it takes."""
    print("avo knowledge search TEXT | list [--lessons] | show PAGE | add PATH_OR_URL | learn RUN | remove PAGE")
    return 0


def search(arguments: Namespace) -> int:
    """`avo knowledge search TEXT`: pages and the passage that matches, best first."""
    from engine.knowledge import shipped

    text = " ".join(arguments.text)
    hits = shipped().search(text)
    if arguments.json:
        print_json([asdict(h) for h in hits])
    elif not hits:
        print(f"no page says anything about {one_line(text, 60)!r}; 'avo knowledge list' names them all")
    for h in () if arguments.json else hits:
        print(f"{h.page}" + (f" § {h.section}" if h.section else "") + f"\n    {one_line(h.snippet, 160)}")
    return 0


def every(arguments: Namespace) -> int:
    """`avo knowledge list`: every page with its title, where it came from, its date and size."""
    from engine.knowledge import shipped

    base = shipped()
    pages = [p for p in base.pages() if p.lesson or not arguments.lessons]
    facts = ("id", "title", "place", "source", "date", "hardware", "size", "lesson")
    if arguments.json:
        print_json([{"page": p.id, "path": str(p.path), **{f: getattr(p, f) for f in facts[1:]}} for p in pages])
        return 0
    if arguments.lessons:
        rows = [[p.id, p.date, one_line(p.claim, 70), str(p.path)] for p in pages]
        print(table(["page", "date", "claim", "edit or remove it here"], rows) if rows else "no lessons yet")
    else:
        rows = [[p.id, one_line(p.title, 60), p.place, one_line(p.source, 40), p.date, f"{p.size:,}"] for p in pages]
        print(table(["page", "title", "place", "source", "date", "bytes"], rows))
    for problem in base.problems:
        print(f"left out: {one_line(problem)}", file=sys.stderr)
    return 0


def learn(arguments: Namespace) -> int:
    """`avo knowledge learn RUN`: distil a run's lessons now; at a run's end it happens by itself."""
    from engine.lessons import learn as distil

    path = distil(run_of(arguments))
    if arguments.json:
        print_json({"page": path.stem, "path": str(path)})
    else:
        print(f"{path.stem} in {path}")
    return 0


def show(arguments: Namespace) -> int:
    """`avo knowledge show PAGE`: the page as it is."""
    from engine.knowledge import shipped

    passage = shipped().read(arguments.page)
    if arguments.json:
        print_json(asdict(passage))
    else:
        print(clean(passage.text))
    return 0


def add(arguments: Namespace) -> int:
    """`avo knowledge add PATH_OR_URL`: pages of one's own from files, folders, web pages and repositories."""
    from engine.knowledge_add import add as add_page

    done = add_page(arguments.source)
    if arguments.json:
        print_json(asdict(done))
        return 0
    print(f"added {len(done.pages)}: {one_line(', '.join(done.pages), 400)}")
    for reason in done.skipped:
        print(f"left out: {one_line(reason)}", file=sys.stderr)
    return 0


def remove(arguments: Namespace) -> int:
    """`avo knowledge remove PAGE`: take out a page of one's own."""
    from engine.knowledge_add import remove as remove_page

    remove_page(arguments.page)
    if arguments.json:
        print_json({"removed": arguments.page})
    else:
        print(f"removed {arguments.page}")
    return 0
