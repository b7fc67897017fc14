"""Steps as a page that needs nothing but itself: next, back, slider, play, speed; mouse, keyboard or screen reader."""
from __future__ import annotations

import json
from html import escape

from .frames import EDGE, FILL, ROLES, Graph, Grid, Panel, Steps, Text, number

LETTER, BOX_HEIGHT, ACROSS, DOWN = 10, 54, 46, 76       # of a graph, at a font of 17: sizes of boxes and gaps

STYLE = f"""
* {{ box-sizing: border-box }}
body {{ margin: 0; padding: 0.8em; background: #fff; color: #111;
  font: clamp(14px, min(1.7vw, 2.5vh), 32px)/1.3 sans-serif }}
h1 {{ font-size: 1.15em; margin: 0 0 0.3em }}
#sentence {{ min-height: 2.6em; margin: 0 0 0.4em }}
#stage {{ display: flex; flex-wrap: wrap; gap: 0.6em 1.8em; align-items: flex-start; margin-top: 0.6em }}
.panel {{ overflow-x: auto; max-width: 100%; position: relative }}
table {{ border-collapse: separate; border-spacing: 2px; font-variant-numeric: tabular-nums }}
.title {{ font-weight: bold; white-space: nowrap; padding-bottom: 0.1em }}
td {{ border: 2px solid {EDGE[0]}; padding: 0 0.3em; text-align: right; height: 1.45em; box-sizing: content-box;
  min-width: var(--width) }}
th {{ font-weight: normal; color: #444; padding: 0 0.3em; text-align: right; white-space: nowrap }}
.read {{ background: {FILL[1]}; border: 2px solid {EDGE[1]} }}
.written {{ background: {FILL[2]}; border: 4px double {EDGE[2]}; padding: 0 calc(0.3em - 2px);
  height: calc(1.45em - 4px); font-weight: bold }}
.padding {{ background: {FILL[3]}; border: 2px dotted {EDGE[3]}; color: #555 }}
svg {{ display: block; font: 17px sans-serif; max-width: none }}
pre, code {{ font: 0.8em monospace; color: #444; white-space: pre-wrap }}
#code-line {{ min-height: 1.2em; margin: 0.5em 0 0 }}
nav {{ display: flex; flex-wrap: wrap; gap: 0.5em; align-items: center }}
button, select {{ font: inherit; padding: 0.15em 0.7em; min-height: 44px }}
input[type=range] {{ flex: 1 1 10em; min-height: 44px }}
.legend {{ margin: 0.7em 0 0 }}
.legend span {{ padding: 0 0.6em; margin-right: 0.7em; height: auto; display: inline-block }}
.hidden {{ position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap }}
:focus-visible {{ outline: 3px solid #000; outline-offset: 2px }}
"""

SCRIPT = """
const { frames, panels } = JSON.parse(document.getElementById("data").textContent);
const [sentence, stage, code, slider, count, play, speed, back, next] =
  ["sentence", "stage", "code", "slider", "count", "play", "speed", "back", "next"]
    .map(id => document.getElementById(id));
let at = 0, timer = null;

function show(index) {
  at = Math.min(Math.max(index, 0), frames.length - 1);
  const frame = frames[at];
  sentence.textContent = frame.sentence;
  stage.innerHTML = frame.panels.map(k => panels[k]).join("");
  code.textContent = frame.code;
  count.textContent = frame.place;
  slider.value = at + 1;
  slider.setAttribute("aria-valuetext", count.textContent);
  back.setAttribute("aria-disabled", at === 0);
  next.setAttribute("aria-disabled", at === frames.length - 1);
  fit();
}
function fit() {
  try {                                        // within a page, make room for the largest frame so far
    const height = document.documentElement.scrollHeight;
    if (frameElement && frameElement.clientHeight < height) frameElement.style.height = `${height + 4}px`;
  } catch { /* a notebook may keep its pages apart */ }
}
onresize = fit;
function stop() {
  clearInterval(timer);
  timer = null;
  play.textContent = "Play";
  sentence.setAttribute("aria-live", "polite");
}
function start() {
  if (at === frames.length - 1) show(0);
  sentence.setAttribute("aria-live", "off");   // a screen reader could not keep up
  play.textContent = "Pause";
  timer = setInterval(() => { show(at + 1); if (at === frames.length - 1) stop(); }, 1000 / speed.value);
}
function go(index) { stop(); show(index); }
function toggle() { timer === null ? start() : stop(); }

back.onclick = () => go(at - 1);
next.onclick = () => go(at + 1);
play.onclick = toggle;
slider.oninput = () => go(slider.value - 1);
speed.onchange = () => { if (timer !== null) { stop(); start(); } };
document.onkeydown = event => {
  const tag = event.target.tagName, key = event.key;
  if (event.ctrlKey || event.altKey || event.metaKey || tag === "SELECT") return;
  if (tag === "INPUT" && key !== " ") return;                          // the slider knows its own keys
  if (tag === "BUTTON" && (key === " " || key === "Enter")) return;    // so do buttons
  const moves = { ArrowRight: at + 1, Enter: at + 1, ArrowLeft: at - 1, Home: 0, End: frames.length - 1 };
  if (key in moves) go(moves[key]); else if (key === " ") toggle(); else return;
  event.preventDefault();
};
show(0);
"""


def page(steps: Steps) -> str:
    """A whole HTML document.  Its content security policy forbids it every request."""
    index: dict[str, int] = {}                       # panels that several frames show are stored once
    widths = steps.widths
    frames = [{"place": place, "sentence": frame.sentence, "code": frame.code,
               "panels": [index.setdefault(_panel(panel, widths), len(index)) for panel in frame.panels]}
              for place, frame in zip(steps.places, steps)]
    data = json.dumps({"frames": frames, "panels": list(index)}, ensure_ascii=False).replace("<", "\\u003c")
    legend = "".join(f'<span class="{role}">{escape(name)}</span>' for role, name in steps.used_legend.items())
    speeds = "".join(f'<option value="{per_second}"{" selected" * (per_second == 1)}>{per_second:g} a second</option>'
                     for per_second in (0.5, 1, 2, 4, 8))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>{escape(steps.title)}</title>
<style>{STYLE}</style>
</head>
<body>
<main>
<h1>{escape(steps.title)}</h1>
<p id="sentence" aria-live="polite" aria-atomic="true"></p>
<nav aria-label="Frames">
<button id="back" type="button">Back</button>
<button id="next" type="button">Next</button>
<button id="play" type="button">Play</button>
<label><span class="hidden">Speed, frames</span><select id="speed">{speeds}</select></label>
<input id="slider" type="range" min="1" max="{len(frames)}" value="1" aria-label="Frame">
<span id="count"></span>
</nav>
<div id="stage"></div>
<p class="legend">{legend}</p>
<p id="code-line"><code id="code"></code></p>
<noscript>This page needs JavaScript; <code>tinyseg step</code> prints the same frames as text.</noscript>
</main>
<script type="application/json" id="data">{data}</script>
<script>{SCRIPT}</script>
</body>
</html>
"""


def inline(steps: Steps) -> str:
    """The page within another one, such as a notebook: a frame of its own, so that styles and keys do not meet."""
    return (f'<iframe srcdoc="{escape(page(steps))}" title="{escape(steps.title)}" '
            f'style="width: 100%; height: 32em; border: 1px solid #bbb"></iframe>')


def _panel(panel: Panel, widths: dict[str, int]) -> str:
    if isinstance(panel, Grid):
        body = _table(panel, widths[panel.title])
    elif isinstance(panel, Graph):
        body = _svg(panel)
    else:
        assert isinstance(panel, Text)
        body = f"<pre>{escape(chr(10).join(panel.lines))}</pre>"
    return f'<div class="panel"><div class="title">{escape(panel.title)}</div>{body}</div>'


def _table(grid: Grid, width: int) -> str:
    """A cell's role is said in its class, and in a word that only a screen reader sees."""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in grid.columns)
    rows = [f"<tr>{'<th></th>' * bool(grid.rows)}{head}</tr>"] if head else []
    for i, (values, roles) in enumerate(zip(grid.values, grid.roles)):
        heading = f'<th scope="row">{escape(grid.rows[i])}</th>' if grid.rows else ""
        rows.append(f"<tr>{heading}{''.join(_cell(number(v), ROLES[r]) for v, r in zip(values, roles))}</tr>")
    return f'<table aria-label="{escape(grid.title)}" style="--width: {0.62 * width:.2f}em">{"".join(rows)}</table>'


def _cell(text: str, role: str) -> str:
    said = f'<span class="hidden"> {role}</span>' if role in ("read", "written") else ""
    return f'<td class="{role}">{text}{said}</td>' if role else f"<td>{text}</td>"


def _svg(graph: Graph) -> str:
    box = LETTER * max(len(text) for node in graph.nodes for text in (node.name, node.note)) + 24
    corners = [(node.column * (box + ACROSS) + 2, node.row * DOWN + 2) for node in graph.nodes]
    width, height = max(x for x, _ in corners) + box + 2, max(y for _, y in corners) + BOX_HEIGHT + 2
    parts = []
    for a, b in graph.edges:
        (x0, y0), (x1, y1) = corners[a], corners[b]
        parts.append(f'<path d="M{x0 + box} {y0 + BOX_HEIGHT // 2} {x1 - 10} {y1 + BOX_HEIGHT // 2}" stroke="#333" '
                     f'stroke-width="2" marker-end="url(#arrow)"/>')
    for (x, y), node in zip(corners, graph.nodes):
        parts.append(f'<rect x="{x}" y="{y}" width="{box}" height="{BOX_HEIGHT}" rx="9" fill="{FILL[node.role]}" '
                     f'stroke="{EDGE[node.role]}" stroke-width="{3 if node.role else 1.5}"/>'
                     f'<text x="{x + box // 2}" y="{y + 23}" font-weight="bold">{escape(node.name)}</text>'
                     f'<text x="{x + box // 2}" y="{y + 44}">{escape(node.note)}</text>')
    said = "; ".join(f"{graph.nodes[a].name} to {graph.nodes[b].name}" for a, b in graph.edges)
    marked = "".join(f". {node.name}: {ROLES[node.role]}" for node in graph.nodes if node.role)
    return (f'<svg viewBox="0 0 {width} {height}" style="width: {width / 17:.1f}em" text-anchor="middle" role="img" '
            f'aria-label="{escape(said + marked)}"><marker id="arrow" viewBox="0 0 8 8" refX="2" refY="4" '
            f'markerWidth="5" markerHeight="5" orient="auto"><path d="M0 0 8 4 0 8z" fill="#333"/></marker>'
            f"{''.join(parts)}</svg>")
