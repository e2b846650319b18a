"""A self-contained HTML page of text, tables and figures, without scripts, fonts or external resources."""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Sequence

# Content security policy: whatever text the page contains, no script runs and nothing is fetched or sent.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"


@dataclasses.dataclass(frozen=True)
class Section:
    """A heading and the HTML below it."""

    title: str
    body: str


def page(title: str, sections: Sequence[Section], lead: str = "") -> str:
    """The page; `title` is plain text, `lead` is HTML between the title and the sections."""
    e = html.escape
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta name="color-scheme" content="light dark">\n<title>{e(title)}</title>\n<style>{STYLE}</style></head>\n'
        f"<body><h1>{e(title)}</h1>\n{lead}\n{_parts(sections)}</body></html>\n"
    )


def _parts(sections: Sequence[Section]) -> str:
    """The sections with links to them; a single section has no link, and its title is the page's."""
    if len(sections) == 1:
        return f"<section>{sections[0].body}</section>\n"
    e = html.escape
    links = "".join(f'<a href="#part-{i}">{e(section.title)}</a> ' for i, section in enumerate(sections, 1))
    parts = "".join(
        f'<section id="part-{i}"><h2>{e(section.title)}</h2>\n{section.body}\n</section>\n'
        for i, section in enumerate(sections, 1)
    )
    return f"<nav>{links}</nav>\n{parts}"


def paragraphs(texts: Sequence[str], kind: str = "") -> str:
    """Plain text strings as paragraphs; `kind` "note" is small and grey, "warning" is highlighted."""
    return "".join(f'<p class="{kind}">{html.escape(text)}</p>\n' for text in texts)


def bullets(texts: Sequence[str]) -> str:
    """Plain text strings as a bullet list."""
    return "<ul>" + "".join(f"<li>{html.escape(text)}</li>\n" for text in texts) + "</ul>\n" if texts else ""


def picture(svg: str, caption: str) -> str:
    """A figure (`experiments.report.drawing.to_svg`) with its caption, which is also its label for screen readers."""
    e = html.escape
    svg = svg.replace("<svg ", f'<svg role="img" aria-label="{e(caption)}" ', 1)
    return f"<figure class=picture><div class=scroll>{svg}</div><figcaption>{e(caption)}</figcaption></figure>\n"


STYLE = """
:root { color-scheme: light dark; --ink: #1f2328; --soft: #59636e; --line: #d1d9e0; --page: #ffffff; --card: #f6f8fa;
  --link: #0757ad; --alarm: #fff4d6; --alarm-line: #b37400; }
@media (prefers-color-scheme: dark) { :root { --ink: #e2e6eb; --soft: #a0a9b4; --line: #3a424c; --page: #14171b;
  --card: #1d2127; --link: #7cb8ff; --alarm: #33290f; --alarm-line: #d9a12b; } }
* { box-sizing: border-box; }
body { font: 16px/1.55 system-ui, sans-serif; max-width: 72rem; margin: 0 auto; padding: 1.5rem 1rem 4rem;
  color: var(--ink); background: var(--page); overflow-wrap: break-word; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: .5rem 0; } h2 { font-size: 1.2rem; margin: 2.5rem 0 .5rem; }
p, li { max-width: 46rem; } ul { padding-left: 1.25rem; } a { color: var(--link); }
nav { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; margin: 1rem 0; }
.note, .facts { color: var(--soft); font-size: .9rem; margin: .35rem 0; }
.warning { background: var(--alarm); border-left: 4px solid var(--alarm-line); padding: .5rem .8rem; }
figure { margin: 1rem 0 1.5rem; }
figure.table > figcaption { font-weight: 600; margin-bottom: .4rem; }
figure.picture > figcaption { color: var(--soft); font-size: .9rem; max-width: 46rem; }
.scroll { overflow-x: auto; max-width: 100%; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .5rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line);
  font-weight: normal; vertical-align: top; }
thead th { border-bottom: 2px solid var(--soft); font-weight: 600; vertical-align: bottom; }
th:first-child { text-align: left; position: sticky; left: 0; background: var(--page); }
tr.break > * { border-top: 2px solid var(--soft); }
td small { color: var(--soft); display: block; } sup { line-height: 0; }
svg { max-width: 100%; height: auto; color: var(--ink); fill: currentColor; display: block; }
.picture svg { min-width: 34rem; }
.pairs { display: grid; grid-template-columns: 1fr 1fr; gap: 1rem; }
.pairs > h3 { margin: 0; font-size: 1rem; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 6px; padding: .7rem; margin: 0;
  min-width: 0; }
.card figcaption { font-size: .9rem; } .card p { margin: .3rem 0; }
.long { max-height: 7.5rem; overflow-y: auto; white-space: pre-wrap; }
@media (max-width: 40rem) { body { padding: 1rem .75rem 3rem; } .pairs { gap: .5rem; } .card { padding: .4rem; } }
"""
