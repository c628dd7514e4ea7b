// Everything that a section of the page is made of, by the `type` of its record.
const kParts = {
  text: (parent, part) => add(parent, "p", {}, part.text),
  table: (parent, part) => addTable(parent, part.head, part.rows),
  bars: (parent, part) => addBars(parent, part.bars),
  tokens: (parent, part) => addTokens(parent, part.values, part.unit),
  charts: (parent, part) => {
    const box = add(parent, "div", { class: "charts" });
    for (const chart of part.charts) addChart(box, chart);
  },
  matrices: (parent, part) => {
    const box = add(parent, "div", { class: "maps" });
    const groups = part.groups.map(numbers => addMaps(box, numbers, part.row ? cell => panel.show(cell) : undefined));
    const panel = part.row ? new RowPanel(parent, groups[0], part.groups[0]) : null;
  },
  // One of several sets of pictures at a time.
  choice: (parent, part) => {
    const bar = add(parent, "div"), place = add(parent, "div");
    const last = lastChosen.get(part.label) ?? part.first ?? 0, first = last < part.items.length ? last : 0;
    const show = i => {
      lastChosen.set(part.label, i);
      forgetMaps(place);
      place.replaceChildren();
      for (const inner of part.items[i].parts) addPart(place, inner);
    };
    addChoice(bar, part.label, part.items.map(item => item.name), first, show);
    show(first);
  },
};

function addPart(parent, part) {
  if (part.title) add(parent, "h3", {}, part.title);
  if (part.about) add(parent, "p", { class: "soft" }, part.about);
  kParts[part.type](parent, part);
}

function addSection(parent, section) {
  const box = add(parent, "section");
  add(box, "h2", {}, section.title);
  if (section.about) add(box, "p", {}, section.about);
  for (const part of section.parts) addPart(box, part);
}

// How pictures look, which the bar changes; and those that stand on the page.
const look = { curve: "root", sign: 0, signs: "automatic", start: "zero", shared: true, how: "automatic" };
const kSigns = ["automatic", "hue", "lightness"];
const shownMaps = new Set();
const lastPlaces = new Map();  // subject of maps: where the reader was in them; so that heads are compared at one place
const lastChosen = new Map();  // label of a choice: which
const shownPixels = new Map();  // canvas: how to draw it

function addMaps(parent, numbers, told) {
  const records = numbers.map(number => data.pictures[number]);
  const how = look.how === "automatic" ? automaticCells(records) : look.how;
  const matrices = records.map(record => new Matrix(record, how));
  const subject = HeatMaps.subject(matrices);
  const maps = new HeatMaps(parent, matrices, look, cell => told?.(cell), lastPlaces.get(subject));
  shownMaps.add(maps);
  return maps;
}

function forgetMaps(parent) {
  for (const maps of shownMaps)
    if (parent.contains(maps.maps[0].canvas)) {
      lastPlaces.set(HeatMaps.subject(maps.maps.map(map => map.matrix)), maps.place);
      maps.watcher.disconnect();
      shownMaps.delete(maps);
    }
}

function repaint() {
  for (const maps of shownMaps) maps.paint();
  for (const [canvas, draw] of shownPixels)
    if (canvas.isConnected) draw();
    else shownPixels.delete(canvas);
}

// The input with a number for each token, as an underline whose thickness and colour say how large it is.
function addTokens(parent, values, unit) {
  const most = values.reduce((m, v) => Math.max(m, Math.abs(v)), 0) || 1;
  if (data.image) return addImageValues(parent, values, unit, most);
  const box = add(parent, "div", { class: "tokens", role: "group", "aria-label": `${unit} of each token. ${kWalkHelp}` });
  const spans = values.map((value, i) => {
    const share = Math.abs(value) / most;
    const span = add(box, "span", { class: "token", style: `--s: ${share.toFixed(3)}` }, data.tokens[i] || String(i));
    box.append(data.bytes ? "" : " ");
    return span;
  });
  addWalk(box, {
    count: spans.length,
    under: e => spans.indexOf(e.target),
    lines: i => [`${i} ${data.details?.[i] ?? quotedText(data.tokens[i] ?? "")}`, `${unit}: ${numberText(values[i])}`],
    middle: i => {
      const { left, top, width, height } = spans[i].getBoundingClientRect();
      return [left + width / 2, top + height / 2];
    },
    mark: i => {
      box.querySelector(".here")?.classList.remove("here");
      if (i === null) return;
      spans[i].classList.add("here");
      const top = spans[i].offsetTop, bottom = top + spans[i].offsetHeight;
      if (top < box.scrollTop) box.scrollTop = top;
      if (bottom > box.scrollTop + box.clientHeight) box.scrollTop = bottom - box.clientHeight;
    },
    above: (i, down) => nextLine(spans, i, down),
  });
}

// Of the next line of tokens, or the one before, the one that stands nearest below or above.
function nextLine(spans, i, down) {
  const { offsetTop: top, offsetLeft: left } = spans[i];
  let found = i, line = null;
  for (let k = i + down; k >= 0 && k < spans.length; k += down) {
    if (spans[k].offsetTop === top) continue;
    line ??= spans[k].offsetTop;
    if (spans[k].offsetTop !== line) break;
    if (found === i || Math.abs(spans[k].offsetLeft - left) < Math.abs(spans[found].offsetLeft - left)) found = k;
  }
  return found;
}

// A picture beside what each of its pixels counts.
function addImageValues(parent, values, unit, most) {
  const box = add(parent, "div", { class: "pictures" });
  addPixels(box, "the input", i => [0, 1, 2].map(() => data.image.grey[i]), i => data.details[position(i)]);
  addPixels(box, unit, i => colourOf(Math.sqrt(Math.abs(values[position(i)]) / most), false, themeNow(), "hue"),
    i => `${data.details[position(i)]}, ${unit}: ${numberText(values[position(i)])}`);
}

function position(pixel) { return pixel + data.image.first; }

// colour(pixel) -> [red, green, blue]; text(pixel) for who points at it; negative(pixel): it is hatched; outlined():
// [first, last] of what has a frame.
function addPixels(parent, title, colour, text, { negative = () => false, outlined = () => null } = {}) {
  const { rows, columns } = data.image, figure = add(parent, "figure", { class: "pixels" });
  add(figure, "figcaption", {}, title);
  const screen = add(figure, "div", { class: "screen", role: "img", "aria-label": `${title}. ${kWalkHelp}` });
  const canvas = add(screen, "canvas", { width: columns, height: rows });
  const over = add(screen, "svg", { viewBox: `0 0 ${columns} ${rows}`, preserveAspectRatio: "none" });
  const hatches = add(over, "g", { class: "hatches" });
  const frame = add(over, "g", { class: "outline" }), spot = add(over, "g", { class: "outline" });
  const draw = () => {
    const image = new ImageData(columns, rows);
    for (let i = 0; i < rows * columns; ++i) image.data.set([...colour(i), 255], 4 * i);
    canvas.getContext("2d").putImageData(image, 0, 0);
    hatchPixels(hatches, columns, [...Array(rows * columns).keys()].filter(negative), colour);
    outlinePixels(frame, outlined(), columns);
  };
  draw();
  shownPixels.set(canvas, draw);
  addWalk(screen, {
    count: rows * columns,
    under: e => {
      const box = canvas.getBoundingClientRect();
      const on = (at, extent, most) => Math.min(Math.max(Math.floor(at / extent * most), 0), most - 1);
      return on(e.clientY - box.top, box.height, rows) * columns + on(e.clientX - box.left, box.width, columns);
    },
    lines: i => [text(i)],
    middle: i => {
      const box = canvas.getBoundingClientRect();
      return [box.left + (i % columns + .5) / columns * box.width, box.top + (Math.floor(i / columns) + .5) / rows * box.height];
    },
    mark: i => outlinePixels(spot, i === null ? null : [i, i], columns),
    above: (i, down) => i + down * columns >= 0 && i + down * columns < rows * columns ? i + down * columns : i,
  });
  return draw;
}

function hatchPixels(place, columns, pixels, colour) {
  place.replaceChildren();
  const inks = new Map();
  for (const i of pixels) {
    const ink = hatchOn(colour(i));
    inks.set(ink, `${inks.get(ink) ?? ""}M${i % columns} ${Math.floor(i / columns) + 1}l1 -1`);
  }
  for (const [ink, d] of inks) add(place, "path", { d, stroke: ink });
}

// Around the pixels from first to last: black on white, which is seen on any ground.
function outlinePixels(place, range, columns) {
  place.replaceChildren();
  if (!range) return;
  const [[left, top], [right, bottom]] = range.map(i => [i % columns, Math.floor(i / columns)]);
  const box = (x, y, to) => `M${x} ${y}H${to}V${y + 1}H${x}Z`;
  const path = top === bottom ? box(left, top, right + 1)
    : bottom === top + 1 && right < left ? box(left, top, columns) + box(0, bottom, right + 1)
    : `M${left} ${top}H${columns}V${bottom}H${right + 1}V${bottom + 1}H0V${top + 1}H${left}Z`;
  for (const name of ["under", "line"]) add(place, "path", { class: name, d: path });
}
