// Curves as SVG. Lines differ in dashes as well as in colour, and are named at their ends.
const kChart = { width: 460, height: 230, left: 56, right: 104, top: 10, bottom: 38 };

// chart: title, about, x and y (names of the axes), log and logX (powers of ten upwards, to the right), whole (x counts
// things), lines [{name, points [[x, y], ...]}], marks [[x, y], ...] (what was chosen, as rings) and their name
function addChart(parent, chart) {
  const lines = chart.lines.map(line => ({ ...line,
    points: pointsOf(line).filter(p => (!chart.log || p[1] > 0) && (!chart.logX || p[0] > 0)) }));
  const marks = (chart.marks ?? []).filter(p => !chart.log || p[1] > 0);
  const forced = (chart.forced ?? []).filter(p => !chart.log || p[1] > 0);  // squares
  const ends = p => p.least === undefined ? [p] : [p, [p.from, p.least], [p.to, p.largest]];
  const all = [...lines.flatMap(line => line.points).flatMap(ends), ...marks, ...forced].filter(p => !chart.log || p[1] > 0);
  if (all.length === 0) return;
  const figure = add(parent, "figure", { class: "chart" });
  add(figure, "figcaption", {}, chart.title);
  if (chart.about) add(figure, "p", { class: "soft" }, chart.about);
  const longest = lines.flatMap(line => line.points).reduce((m, p) => Math.max(m, (p.to ?? 0) - (p.from ?? 0) + 1), 1);
  if (longest > 1)
    add(figure, "p", { class: "soft" }, `Each point is the mean of ${chart.logX ? "up to " : ""}${longest} values; the band goes from the least to the largest of them.`);
  const svg = add(figure, "svg", { viewBox: `0 0 ${kChart.width} ${kChart.height}`, role: "img", "aria-label": `${chart.title}. ${kWalkHelp}` });
  const x = axis(all.map(p => p[0]), chart.logX, kChart.left, kChart.width - kChart.right);
  const y = axis([...all.map(p => p[1]), ...(chart.log ? [] : [0])], chart.log, kChart.height - kChart.bottom, kChart.top);
  drawAxes(svg, chart, x, y);
  for (const mark of marks) add(svg, "circle", { class: "mark", cx: x.place(mark[0]), cy: y.place(mark[1]), r: 3.5 });
  for (const mark of forced)
    add(svg, "rect", { class: "mark", x: x.place(mark[0]) - 3, y: y.place(mark[1]) - 3, width: 6, height: 6 });
  drawBands(svg, lines, x, y);
  drawLines(svg, lines, x, y);
  if (forced.length > 0) add(figure, "p", { class: "soft" }, `Squares: ${chart.forcedName}.`);
  if (marks.length > 0 && chart.markName) add(figure, "p", { class: "soft" }, `Rings: ${chart.markName}.`);
  const some = lines.filter(line => line.points.length > 0);
  if (some.length > 0) walkChart(svg, chart, { lines: some, marks, forced, x, y });
}

function placeText(p) { return p.to > p.from ? `${p.from} to ${p.to}` : numberText(p[0]); }

function valueText(p) {
  return p.to > p.from ? `${numberText(p[1])} (mean; ${numberText(p.least)} to ${numberText(p.largest)})` : numberText(p[1]);
}

// From point to point of the line that has the most of them; the others say what they have nearest to it.
function walkChart(svg, chart, { lines, marks, forced, x, y }) {
  const { points } = lines.reduce((a, b) => b.points.length > a.points.length ? b : a);
  const nearest = (all, at) => all.reduce((best, p, i) => Math.abs(p[0] - at) < Math.abs(all[best][0] - at) ? i : best, 0);
  const at = (line, i) => line.points[nearest(line.points, points[i][0])];
  const spot = add(svg, "g", { class: "spot" });
  addWalk(svg, {
    count: points.length,
    under: e => {
      const box = svg.getBoundingClientRect();
      return nearest(points, x.value((e.clientX - box.left) / box.width * kChart.width));
    },
    lines: i => [`${chart.x} ${placeText(points[i])}${marks.some(p => p[0] === points[i][0]) ? `, ${chart.markName}` : ""}` +
        (forced.some(p => p[0] === points[i][0]) ? `, ${chart.forcedName}` : ""),
      ...lines.map(line => `${line.name}: ${valueText(at(line, i))}`)],
    middle: i => {
      const box = svg.getBoundingClientRect(), scale = box.width / kChart.width;
      return [box.left + x.place(points[i][0]) * scale, box.top + y.place(points[i][1]) * scale];
    },
    mark: i => {
      spot.replaceChildren();
      if (i === null) return;
      const across = x.place(points[i][0]);
      add(spot, "line", { x1: across, x2: across, y1: kChart.top, y2: kChart.height - kChart.bottom });
      for (const line of lines) add(spot, "circle", { cx: x.place(at(line, i)[0]), cy: y.place(at(line, i)[1]), r: 4 });
    },
  });
}

// Of lines that are limits, and of the others by their number.
function styleOf(line, i) { return line.limit ? "limit" : `line${i}`; }

// Points [x, y] of a record; where they are means of pieces, with the ends `from` and `to` of these, their least and
// largest values.
function pointsOf(line) {
  if (line.points) return line.points;
  const start = i => line.starts ? line.starts[i] : line.first + i * (line.step ?? 1);
  if (!line.least) return line.values.map((y, i) => [start(i), y]);
  return line.values.map((y, i) => {
    const from = start(i), to = i + 1 < line.values.length ? start(i + 1) - 1 : line.last;
    return Object.assign([(from + to) / 2, y], { from, to, least: line.least[i], largest: line.largest[i] });
  });
}

function drawBands(svg, lines, x, y) {
  lines.forEach((line, i) => {
    if (line.points.length < 2 || line.points[0].least === undefined) return;
    const inside = value => y.place(Math.max(value, y.low));  // on an axis of powers of ten the least may be 0
    const upper = line.points.map(p => `${x.place(p[0]).toFixed(1)},${inside(p.largest).toFixed(1)}`);
    const lower = line.points.map(p => `${x.place(p[0]).toFixed(1)},${inside(p.least).toFixed(1)}`).reverse();
    add(svg, "polygon", { class: `band line${i}`, points: [...upper, ...lower].join(" ") });
  });
}

function drawLines(svg, lines, x, y) {
  const some = lines.map((line, i) => ({ line, i })).filter(({ line }) => line.points.length > 0);
  const ends = some.map(end => ({ ...end, y: y.place(end.line.points.at(-1)[1]) })).sort((a, b) => a.y - b.y);
  ends.forEach((end, k) => { if (k > 0) end.y = Math.max(end.y, ends[k - 1].y + 13); });
  const beyond = Math.max(0, ends.length > 0 ? ends.at(-1).y - (kChart.height - kChart.bottom) : 0);
  for (const { line, i, y: at } of ends) {
    const points = line.points.map(p => `${x.place(p[0]).toFixed(1)},${y.place(p[1]).toFixed(1)}`).join(" ");
    if (line.points.length > 1) add(svg, "polyline", { class: styleOf(line, i), points });
    else add(svg, "circle", { class: `dot ${styleOf(line, i)}`, cx: x.place(line.points[0][0]), cy: y.place(line.points[0][1]), r: 3 });
    add(svg, "text", { class: `name ${styleOf(line, i)}`, x: kChart.width - kChart.right + 5, y: at - beyond + 4 }, line.name);
  }
}

// Where values stand between two places, and back.
function axis(values, log, from, to) {
  const f = log ? Math.log10 : v => v, back = log ? v => 10 ** v : v => v;
  let low = f(values.reduce((a, b) => Math.min(a, b))), high = f(values.reduce((a, b) => Math.max(a, b)));
  if (!(high > low)) [low, high] = [low - .5, high + .5];
  const place = v => from + (f(v) - low) / (high - low) * (to - from);
  const value = p => back(low + (p - from) / (to - from) * (high - low));
  return { place, value, low: back(low), ticks: ticksOf(low, high, log).map(back) };
}

function ticksOf(low, high, log) {
  if (log) return logTicks(low, high);
  const rough = (high - low) / 4, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map(m => m * power).find(s => s >= rough), ticks = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; ++i) ticks.push(i * step);
  return ticks;
}

// Powers of ten; where there are few, twice and five times these, too.
function logTicks(low, high) {
  const powers = [...Array(Math.ceil(high) - Math.floor(low) + 1).keys()].map(i => Math.floor(low) + i);
  const inside = ticks => ticks.filter(tick => tick >= low - 1e-9 && tick <= high + 1e-9);
  const every = Math.ceil(inside(powers).length / 6), few = inside(powers).length < 3;
  return few ? inside(powers.flatMap(p => [p, p + Math.log10(2), p + Math.log10(5)])) : inside(powers).filter(p => p % every === 0);
}

function drawAxes(svg, chart, x, y) {
  const right = kChart.width - kChart.right, bottom = kChart.height - kChart.bottom;
  for (const tick of y.ticks) {
    add(svg, "line", { class: "grid", x1: kChart.left, x2: right, y1: y.place(tick), y2: y.place(tick) });
    add(svg, "text", { class: "end", x: kChart.left - 5, y: y.place(tick) + 4 }, numberText(Number(tick.toPrecision(6))));
  }
  for (const tick of x.ticks.filter(tick => !chart.whole || Number.isInteger(Number(tick.toPrecision(6)))))
    add(svg, "text", { class: "middle", x: x.place(tick), y: bottom + 15 }, numberText(Number(tick.toPrecision(6))));
  add(svg, "text", { class: "middle", x: (kChart.left + right) / 2, y: bottom + 32 }, chart.x);
  add(svg, "text", { class: "middle", transform: `translate(11 ${(kChart.top + bottom) / 2}) rotate(-90)` }, chart.y);
}

// Shares of a whole, each a bar with its name and number.
function addBars(parent, bars) {
  const list = add(parent, "ul", { class: "bars" }), most = bars.reduce((m, bar) => Math.max(m, Math.abs(bar.value)), 0) || 1;
  for (const bar of bars) {
    const line = add(list, "li", bar.strong ? { class: "strong" } : {});
    add(line, "span", { class: "what" }, bar.name);
    add(add(line, "span", { class: "track" }), "span", { class: bar.value < 0 ? "bar negative" : "bar", style: `width: ${(100 * Math.abs(bar.value) / most).toFixed(1)}%` });
    add(line, "span", { class: "number" }, bar.text ?? numberText(bar.value));
  }
}
