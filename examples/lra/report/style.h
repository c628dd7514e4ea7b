// The style sheet of a run's page. Blue and orange are told apart by every kind of eye (Okabe and Ito's palette).
#pragma once

namespace subquad::lra {

inline constexpr const char* kPageStyle = R"(
:root { color-scheme: light dark; --paper: #fff; --ink: #1c1e21; --soft: #5c6670; --rule: #d5d9de; --box: #f5f6f8;
  --one: #0072b2; --two: #c04f00; --shade: 0, 114, 178; }
@media screen and (prefers-color-scheme: dark) {
  :root { --paper: #15181c; --ink: #e6e8ea; --soft: #a2abb5; --rule: #3a4048; --box: #1e2329;
    --one: #56b4e9; --two: #f0a030; --shade: 40, 140, 210; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem; max-width: 76rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .25rem; }
h2 { font-size: 1.2rem; margin: 2rem 0 .5rem; border-bottom: 1px solid var(--rule); }
h3 { font-size: 1rem; margin: 1.25rem 0 .5rem; }
p { margin: .4rem 0; max-width: 60rem; }
small, .soft, .size, .part { color: var(--soft); font-size: .85rem; }
.verdict { font-size: 1.15rem; padding: .75rem 1rem; margin: 1rem 0; background: var(--box);
  border-left: 5px solid var(--one); max-width: none; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .7rem; text-align: right; border-bottom: 1px solid var(--rule); font-weight: normal; }
th:first-child, td:first-child { text-align: left; }
thead th { color: var(--soft); vertical-align: bottom; }
.scores .best td { font-weight: bold; }
.wide { overflow-x: auto; }
.confusion th, .confusion td { border: 1px solid var(--rule); padding: .2rem .5rem; }
.confusion td { background: rgba(var(--shade), calc(var(--s) * .65)); line-height: 1.2; print-color-adjust: exact;
  -webkit-print-color-adjust: exact; }
.confusion td.right { font-weight: bold; outline: 2px solid var(--ink); outline-offset: -2px; }
.confusion td span { display: block; font-size: .75rem; font-weight: normal; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(26rem, 100%), 1fr)); gap: 1rem 2rem; }
figure { margin: 0; break-inside: avoid; }
figcaption { font-weight: bold; }
figcaption small { font-weight: normal; }
svg { width: 100%; height: auto; display: block; font-size: 12px; }
svg text { fill: var(--soft); }
svg .end { text-anchor: end; }
svg .middle { text-anchor: middle; }
svg .grid { stroke: var(--rule); }
svg .axis { stroke: var(--soft); }
svg .level { stroke: var(--soft); stroke-dasharray: 2 4; }
svg polyline { fill: none; stroke-width: 1.8; stroke-linejoin: round; }
svg circle { fill: transparent; }
svg .one polyline { stroke: var(--one); }
svg .two polyline { stroke: var(--two); stroke-dasharray: 7 3; }
svg .one .dot { fill: var(--one); }
svg .two .dot { fill: var(--two); }
svg circle:hover { fill: var(--ink); }
svg .name.one { fill: var(--one); font-weight: bold; }
svg .name.two { fill: var(--two); font-weight: bold; }
.answers { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(19rem, 100%), 1fr)); gap: 1rem; }
.pictures { grid-template-columns: repeat(auto-fill, minmax(11rem, 1fr)); }
article { border: 1px solid var(--rule); padding: .6rem .8rem; break-inside: avoid; min-width: 0; }
article p { margin: .15rem 0; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; margin: .3rem 0; font: 13px/1.4 ui-monospace, "DejaVu Sans Mono", monospace; }
article pre { background: var(--box); padding: .4rem .5rem; max-height: 16rem; overflow-y: auto; }
img { image-rendering: pixelated; display: block; margin: .3rem 0; max-width: 100%; border: 1px solid var(--rule); }
.config { columns: 22rem; background: var(--box); padding: .8rem 1rem; }
@media print { body { font-size: 11px; max-width: none; padding: 0; } article pre { max-height: none; }
  .charts { grid-template-columns: 1fr 1fr; } }
)";

}  // namespace subquad::lra
