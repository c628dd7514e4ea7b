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
    const panel = part.row ? new RowPanel(parent, groups[0]) : null;
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
const look = { curve: "root", sign: 0, shared: true, how: "mean" };
const shownMaps = new Set();
const lastPlaces = new Map();  // subject of maps: where the reader was in them; so that heads are compared at one place
const lastChosen = new Map();  // label of a choice: which
const shownPixels = new Map();  // canvas: how to draw it

function addMaps(parent, numbers, told) {
  const matrices = numbers.map(number => new Matrix(data.pictures[number], look.how));
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
  const box = add(parent, "div", { class: "tokens", tabindex: 0, role: "group", "aria-label": `${unit} of each token` });
  values.forEach((value, i) => {
    const share = Math.abs(value) / most, token = data.tokens[i] ?? "";
    const span = add(box, "span", { class: "token", style: `--s: ${share.toFixed(3)}` }, token || String(i));
    box.append(data.bytes ? "" : " ");
    span.addEventListener("pointerenter", e => showTip([`${i} ${data.details?.[i] ?? quotedText(token)}`, `${unit}: ${numberText(value)}`], e.clientX, e.clientY));
  });
  box.addEventListener("pointerleave", () => showTip(null));
}

// A picture beside what each of its pixels counts.
function addImageValues(parent, values, unit, most) {
  const box = add(parent, "div", { class: "pictures" });
  addPixels(box, "the input", i => [0, 1, 2].map(() => data.image.grey[i]), i => data.details[position(i)]);
  addPixels(box, unit, i => colourOf(Math.sqrt(Math.abs(values[position(i)]) / most), false, themeNow()),
    i => `${data.details[position(i)]}, ${unit}: ${numberText(values[position(i)])}`);
}

function position(pixel) { return pixel + data.image.first; }

// colour(pixel) -> [red, green, blue]; text(pixel) for who points at it.
function addPixels(parent, title, colour, text) {
  const { rows, columns } = data.image, figure = add(parent, "figure", { class: "pixels" });
  add(figure, "figcaption", {}, title);
  const canvas = add(figure, "canvas", { width: columns, height: rows, role: "img", "aria-label": title });
  const draw = () => {
    const image = new ImageData(columns, rows);
    for (let i = 0; i < rows * columns; ++i) image.data.set([...colour(i), 255], 4 * i);
    canvas.getContext("2d").putImageData(image, 0, 0);
  };
  draw();
  shownPixels.set(canvas, draw);
  canvas.addEventListener("pointermove", e => {
    const box = canvas.getBoundingClientRect(), on = (at, extent, most) => Math.min(Math.floor(at / extent * most), most - 1);
    const pixel = on(e.offsetY, box.height, rows) * columns + on(e.offsetX, box.width, columns);
    if (pixel >= 0) showTip([text(pixel)], e.clientX, e.clientY);
  });
  canvas.addEventListener("pointerleave", () => showTip(null));
  return draw;
}
