"""The site builds without a warning, has a page for each command, and fetches nothing."""

import re
import subprocess
import sys
from html import unescape

import pytest
from markdown_it import MarkdownIt
from support.running import ROOT, command

import datamodules
import zoo

FETCHED = re.compile(
    r"""<(?:script|link|img|iframe)\b[^>]*?\b(?:src|href)=["']?(\w+:)?//"""
    r"""|<script[^>]*>[^<]*https?://"""
)
ROOT_PAGES = {
    "README.md": "overview.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
SOURCES = [*sorted(ROOT.glob("docs/*.md")), *map(ROOT.joinpath, ROOT_PAGES)]
LINKS = re.compile(r'<a\b[^>]*\bhref="([^"#:]*)(?:#([^"]*))?"')


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site: a page in no menu, a link or an anchor that leads nowhere are errors."""
    place = tmp_path_factory.mktemp("site")
    line = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(place)]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return place


@pytest.fixture(scope="module")
def pages(site):
    return {
        page.relative_to(site).as_posix(): page.read_text()
        for page in site.rglob("*.html")
        if page.name != "404.html"
    }


def article(page):
    """What a page says, without menus."""
    return re.search(r"<article.*?</article>", page, re.DOTALL)[0]


def test_each_command_has_a_page_with_its_options(pages, capsys):
    """As the command line lists them, not as the hooks of the site do."""
    with pytest.raises(SystemExit):
        command("--help")
    commands = re.search(r"\{([\w,]+)\}", capsys.readouterr().out)[1].split(",")
    assert {"fit", "detect", "inspect"} <= {*commands}
    for name in commands:
        assert "<table" in pages[f"commands/{name}.html"], name
        assert f'href="{name}.html"' in article(pages["commands/index.html"]), name
    assert "--trainer.precision" in pages["commands/index.html"]
    assert "<!-- options" not in "".join(pages.values())


def test_all_that_is_public_is_in_the_reference(pages):
    reference = "".join(text for name, text in pages.items() if name.startswith("reference/"))
    documented = {*re.findall(r'<h\d id="([\w.]+)"', reference)}
    public = [getattr(zoo, name) for name in zoo.__all__]
    public += [getattr(datamodules, name) for name in datamodules.HOMES]
    assert {f"{item.__module__}.{item.__qualname__}" for item in public} - documented == set()


def test_options_of_models_are_those_of_their_constructors(pages):
    models = pages["reference/models.html"]
    for option in ("cross_layers", "cin_layers", "subsets", "embedding_dim", "learning_rate"):
        assert f"<code>{option}</code>" in models, option


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_a_page_reads_the_same_beside_the_code_and_on_the_site(source, pages):
    """Lists and code within them, above all, which Markdowns tell apart by their indentation."""
    name = ROOT_PAGES.get(source.name) or source.relative_to(ROOT / "docs").as_posix()
    built = article(pages[f"{name.removesuffix('.md')}.html"])
    plain = MarkdownIt("commonmark").enable("table").render(source.read_text())
    for tag in ("li", "ul", "ol", "pre", "td", "h3", "em", "strong", "blockquote"):
        found, expected = (len(re.findall(rf"<{tag}\b", text)) for text in (built, plain))
        assert found == expected, tag


def test_nothing_is_fetched_from_elsewhere(site, pages):
    for name, text in pages.items():
        assert FETCHED.search(text) is None, name
    for style in site.rglob("*.css"):
        assert re.search(r"(?:@import|url\()\s*[\"']?(?:https?:)?//", style.read_text()) is None


def test_links_of_the_built_pages_lead_to_files_and_anchors(site, pages):
    """Those of hooks and plugins too, which the build does not check."""
    anchors = {name: {*re.findall(r'\bid="([^"]+)"', text)} for name, text in pages.items()}
    for name, text in pages.items():
        for path, anchor in LINKS.findall(text):
            target = ((site / name).parent / path).resolve() if path else site / name
            assert target.exists(), (name, path)
            found = target.relative_to(site).as_posix()
            if anchor and found in anchors:
                assert unescape(anchor) in anchors[found] | {"__codelineno-0-1"}, (
                    name,
                    path,
                    anchor,
                )
