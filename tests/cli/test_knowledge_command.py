"""`avo knowledge`: pages are found, read, added and taken out."""


def test_shipped_pages_are_listed_searched_and_shown(avo):
    pages = avo("knowledge", "list", "--json").json
    assert len(pages) >= 10
    hits = avo("knowledge", "search", "online", "softmax", "--json").json
    assert hits
    assert hits[0]["page"] in {p["page"] for p in pages}
    shown = avo("knowledge", "show", hits[0]["page"])
    assert shown.code == 0
    assert "claim:" in shown.out
    assert avo("knowledge", "search", "zebra crossing xyzzy").out.startswith("no page says anything")


def test_a_page_that_does_not_exist_is_refused(avo):
    avo("knowledge", "show", "no-such-page").refused(1, "no-such-page")
    avo("knowledge", "remove", "no-such-page").refused(1, "no-such-page")


def test_a_file_of_ones_own_becomes_a_page_until_it_is_removed(avo, tmp_path):
    (tmp_path / "swizzle.md").write_text("# Swizzled tiles\n\nThe zebra pattern avoids bank conflicts.\n")
    env = {"XDG_DATA_HOME": str(tmp_path / "data")}
    added = avo("knowledge", "add", str(tmp_path / "swizzle.md"), "--json", env=env).json
    (page,) = added["pages"]
    assert avo("knowledge", "search", "zebra", "--json", env=env).json[0]["page"] == page
    assert avo("knowledge", "remove", page, env=env).code == 0
    assert avo("knowledge", "search", "zebra", "--json", env=env).json == []
    avo("knowledge", "add", str(tmp_path / "gone.md"), env=env).refused(1, "does not exist")
