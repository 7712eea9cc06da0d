"""How the report looks: light or dark as the reader's screen, in one column on a telephone."""

STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1b1b1b; --faint: #5c5c5c;
  --line: #d8d8d8; --soft: #f3f4f6; --right: #1a7f37; --wrong: #cf222e; }
@media (prefers-color-scheme: dark) { :root { --paper: #15181c; --ink: #e6e6e6; --faint: #a3a8ae;
  --line: #3a3f46; --soft: #20242a; --right: #56c271; --wrong: #ff7b72; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 68rem; margin: 0 auto; padding: 1rem; overflow-wrap: anywhere; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0.5rem 0; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 0.4rem; padding-top: 0.8rem;
  border-top: 1px solid var(--line); }
p { max-width: 46rem; margin: 0.5rem 0; }
.headline { font-size: 1.1rem; }
.note { border-left: 4px solid #d29922; padding-left: 0.7rem; color: var(--faint); }
.label { margin: 0.9rem 0 0.2rem; color: var(--faint); font-size: 0.9rem; }
img { display: block; width: 100%; height: auto; }
figure { margin: 0; }
.three figure { display: flex; flex-direction: column; height: 100%; }
.three figure img { margin-top: auto; }
figure img { background: #fff; border-radius: 6px; }
figcaption { color: var(--faint); font-size: 0.85rem; padding: 0.6rem 0.2rem 0.3rem; }
figcaption b { color: var(--ink); }
.panels { display: grid; gap: 0.8rem 1.6rem; }
.two { grid-template-columns: repeat(auto-fill, minmax(min(100%, 26rem), 1fr)); }
.three { grid-template-columns: repeat(auto-fill, minmax(min(100%, 19rem), 1fr)); }
.strip { display: grid; gap: 4px; grid-template-columns: repeat(var(--columns), minmax(0, 5rem)); }
.strip img, .cell img { image-rendering: pixelated; border-radius: 3px; }
.neighbours { display: grid; gap: 0.8rem 2.4rem; margin-top: 0.8rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 26rem), 1fr)); }
.row { display: grid; gap: 6px; grid-template-columns: repeat(7, minmax(0, 1fr)); }
.cell img { border: 3px solid transparent; }
.cell span { display: block; font-size: 0.75rem; line-height: 1.3; overflow: hidden;
  white-space: nowrap; text-overflow: ellipsis; text-align: center; }
.query img { border-color: var(--faint); }
.right img { border-color: var(--right); } .right span { color: var(--right); }
.wrong img { border-color: var(--wrong); } .wrong span { color: var(--wrong); }
table { border-collapse: collapse; margin: 0.8rem 0; font-variant-numeric: tabular-nums;
  overflow-wrap: normal; }
th, td { text-align: right; padding: 0.25rem 0.9rem; border-bottom: 1px solid var(--line); }
th:first-child { text-align: left; padding-left: 0; }
tbody th { font-weight: normal; } .wide tbody th { font-weight: bold; overflow-wrap: anywhere;
  min-width: 6.5rem; }
.wide th, .wide td { padding: 0.3rem 0.4rem; font-size: 0.9rem; vertical-align: top; }
dl { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: 0.2rem 1rem; }
dt { color: var(--faint); } dd { margin: 0; }
pre { background: var(--soft); border-radius: 6px; padding: 0.7rem; font-size: 0.8rem;
  white-space: pre-wrap; }
summary { cursor: pointer; color: var(--faint); }
@media (max-width: 40rem) { th, td { padding: 0.25rem 0.5rem; } }
@media (max-width: 62rem) {
  table.wide, .wide tbody, .wide tr, .wide td, .wide th { display: block; text-align: left; }
  .wide thead { display: none; }
  .wide tr { margin-bottom: 0.9rem; } .wide td { padding: 0.1rem 0; border: 0; }
  .wide td::before { content: attr(data-label) ": "; color: var(--faint); }
}
@media print {
  :root { color-scheme: light; --paper: #fff; --ink: #000; --faint: #444; --line: #bbb;
    --soft: #f3f4f6; --right: #1a7f37; --wrong: #cf222e; }
  main { max-width: none; padding: 0; }
  figure, .strip, .row, tr { break-inside: avoid; } h2, .label, section > p { break-after: avoid; }
  .panels, .neighbours { grid-template-columns: repeat(2, 1fr); }
  img { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""
