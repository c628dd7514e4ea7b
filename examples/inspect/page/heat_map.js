// Matrices of one size side by side, which zoom, move and point at a cell together. Ctrl and the wheel, two fingers or
// + and - zoom, dragging or shift and arrows move, arrows go from cell to cell, 0 shows all. The wheel alone belongs to
// the page, until one of the maps has been clicked.
const kHelp = "Ctrl and the wheel, two fingers or + and − zoom (the wheel alone does on a map that was clicked); dragging " +
  "moves; a double click or 0 shows all. Arrows go from cell to cell, Enter or a click keeps one, Escape lets it go.";

class HeatMaps {
  // look: {curve, sign, shared}, which the page's bar changes; told(cell or null): a cell is pointed at; before: the
  // place() of the maps that stood here, which is gone to.
  constructor(parent, matrices, look, told = () => {}, before = null) {
    this.look = look;
    this.told = told;
    this.scale = 1;            // times as large as all of it would fit
    this.left = this.top = 0;  // the cell, with a fraction, in the corner
    this.pointers = new Map();
    this.cell = null;
    this.kept = null;  // a cell that stays when the pointer leaves
    if (before) Object.assign(this, before, { cell: before.kept });
    this.maps = matrices.map(matrix => this.#addMap(parent, matrix));
    this.watcher = new ResizeObserver(() => this.#resized());
    for (const map of this.maps) this.watcher.observe(map.figure);
    this.paint();
  }

  get rows() { return this.maps[0].matrix.rows; }
  get columns() { return this.maps[0].matrix.columns; }
  get place() { return { scale: this.scale, left: this.left, top: this.top, kept: this.kept }; }

  // The same for the same things, of the same size, in every layer and head.
  static subject(matrices) { return matrices.map(({ id, rows, columns }) => `${id} ${rows} ${columns}`).join(", "); }

  #addMap(parent, matrix) {
    const figure = add(parent, "figure", { class: "map" });
    const head = add(figure, "div", { class: "head" });
    add(head, "figcaption", {}, matrix.title);
    const map = { matrix, figure };
    this.#addZoom(head, map);
    add(figure, "p", { class: "soft" }, matrix.about);
    map.canvas = add(figure, "canvas", { tabindex: 0, role: "img", "data-matrix": matrix.id,
      "data-rows": matrix.rows, "data-columns": matrix.columns,
      "aria-label": `${matrix.title}, ${matrix.rows} by ${matrix.columns} cells. ${kHelp}` });
    map.key = add(figure, "canvas", { class: "key", "aria-hidden": true });
    map.range = add(figure, "p", { class: "soft range" });
    this.#listen(map);
    return map;
  }

  #addZoom(parent, map) {
    const zoom = add(parent, "span", { class: "zoom", role: "group", "aria-label": "Zoom", title: kHelp });
    const button = (text, label, act) =>
      add(zoom, "button", { type: "button", "aria-label": label }, text).addEventListener("click", act);
    button("−", "smaller", () => this.zoomMiddle(map, 1 / 1.5));
    button("+", "larger", () => this.zoomMiddle(map, 1.5));
    button("all", "show all", () => this.reset());
  }

  // The largest magnitude that colours go up to.
  #top(matrix) { return Math.max(...this.#alike(matrix).map(other => other.largest)); }

  // The number that colours start from: 0, unless the least is chosen and all are positive.
  #start(matrix) {
    const least = Math.min(...this.#alike(matrix).map(other => other.low));
    return this.look.start === "least" && least < this.#top(matrix) ? Math.max(0, least) : 0;
  }

  #alike(matrix) {
    return this.look.shared ? this.maps.map(map => map.matrix).filter(other => other.scale === matrix.scale) : [matrix];
  }

  // How much of its colour a value shows: 0 for what is not to be seen.
  #share(value, top, start = 0) {
    if ((this.look.sign > 0 && value < 0) || (this.look.sign < 0 && value > 0)) return 0;
    return kCurves[this.look.curve](Math.max(0, Math.abs(value) - start) / (top - start));
  }

  // How signs are told: by the size that cells have when all are shown, so that zooming changes no colours.
  #signs(map) {
    const { w, h } = this.#layout(map), top = this.#top(map.matrix);
    return signsOf(this.#alike(map.matrix).some(matrix => matrix.low < -top / 2000), Math.min(w, h) / this.scale);
  }

  #resized() {
    if (this.maps.some(map => map.signs !== this.#signs(map))) this.paint();
    else this.draw();
  }

  // The picture of all cells, once for each choice of colours.
  paint() {
    const theme = themeNow();
    for (const map of this.maps) {
      const { matrix } = map, top = this.#top(matrix), start = this.#start(matrix);
      map.signs = this.#signs(map);
      const colours = palette(matrix, value => this.#share(value, top, start), theme, map.signs);
      const image = new ImageData(matrix.columns, matrix.rows), pixels = new Uint32Array(image.data.buffer);
      for (let i = 0; i < pixels.length; ++i) pixels[i] = colours[matrix.cells[i]];
      Object.assign(map, { image, picture: canvasOf(image), thin: null });
    }
    this.draw();
  }

  draw() {
    for (const map of this.maps) {
      this.#drawMap(map);
      this.#drawKey(map);
      map.canvas.style.touchAction = this.scale > 1 ? "none" : "pan-y";  // at full size one finger scrolls the page
    }
  }

  // Pixels of the page: where the cells begin, how far they go, and the sides of one.
  #layout(map) {
    const width = map.canvas.clientWidth, margin = Math.min(78, width / 4.5), across = width - margin;
    const down = across * Math.min(1, Math.max(.3, this.rows / this.columns));
    return { width, height: margin + down, margin, across, down,
      w: across / this.columns * this.scale, h: down / this.rows * this.scale };
  }

  #drawMap(map) {
    const { canvas, matrix } = map, at = this.#layout(map), { margin, across, down, w, h } = at;
    if (at.width === 0) return;
    const c = this.#context(canvas, at.width, at.height), style = getComputedStyle(document.body);
    c.save();
    this.#clip(c, at);
    this.#drawCells(c, map, at);
    const shown = this.#shown(at);
    if (Math.min(w, h) >= kLeastHatched) this.#hatchNegative(c, map, shown, at);
    if (w >= 40 && h >= 16) this.#writeNumbers(c, map, shown, at);
    c.restore();
    c.fillStyle = style.color;
    c.strokeStyle = style.getPropertyValue("--soft");
    c.strokeRect(margin - .5, margin - .5, across, down);
    this.#writeNames(c, matrix, shown, at);
    if (this.cell) this.#drawCross(c, at, style.color);
  }

  // Where there are fewer dots than cells none may be lost: they are averaged, along the sides that are so crowded.
  #drawCells(c, map, { margin, w, h }) {
    const dots = devicePixelRatio || 1, crowded = [w, h].map(side => side * dots < 1);
    c.imageSmoothingEnabled = crowded[0] && crowded[1];
    c.imageSmoothingQuality = "high";
    const picture = crowded[0] === crowded[1] ? map.picture : this.#thinPicture(map, crowded, w * dots, h * dots);
    c.drawImage(picture, margin - this.left * w, margin - this.top * h, this.columns * w, this.rows * h);
  }

  // All cells, as many dots long as they are on the page; kept, as every cell that is pointed at draws the map anew.
  #thinPicture(map, crowded, w, h) {
    const along = (cells, side, few) => few ? Math.max(1, Math.floor(cells * side)) : cells;
    const columns = along(this.columns, w, crowded[0]), rows = along(this.rows, h, crowded[1]);
    if (map.thin?.width !== columns || map.thin.height !== rows) map.thin = canvasOf(shrunk(map.image, columns, rows));
    return map.thin;
  }

  #clip(c, { margin, across, down }) {
    c.beginPath();
    c.rect(margin, margin, across, down);
    c.clip();
  }

  #context(canvas, width, height) {
    const dots = devicePixelRatio || 1;
    canvas.width = Math.round(width * dots);
    canvas.height = Math.round(height * dots);
    canvas.style.height = `${height}px`;
    const c = canvas.getContext("2d");
    c.scale(dots, dots);
    c.font = "11px ui-monospace, 'DejaVu Sans Mono', monospace";
    return c;
  }

  // Cells that can be seen, half open.
  #shown({ across, down, w, h }) {
    const range = (start, extent, most) => [Math.max(0, Math.floor(start)), Math.min(most, Math.ceil(start + extent))];
    return { rows: range(this.top, down / h, this.rows), columns: range(this.left, across / w, this.columns) };
  }

  #each(shown, visit) {
    for (let r = shown.rows[0]; r < shown.rows[1]; ++r)
      for (let k = shown.columns[0]; k < shown.columns[1]; ++k) visit(r, k);
  }

  #hatchNegative(c, { matrix, signs }, shown, { margin, w, h }) {
    if (this.look.sign > 0 || signs === "lightness" || matrix.low >= 0) return;
    const paths = new Map(), top = this.#top(matrix), theme = themeNow();  // colour of the lines: where they are
    this.#each(shown, (row, column) => {
      const value = matrix.at(row, column);
      if (!(value < -top / 2000)) return;
      const x = margin + (column - this.left) * w, y = margin + (row - this.top) * h;
      const ink = hatchOn(colourOf(this.#share(value, top), true, theme, signs));
      if (!paths.has(ink)) paths.set(ink, new Path2D());
      paths.get(ink).moveTo(x, y + h);
      paths.get(ink).lineTo(x + w, y);
    });
    for (const [ink, path] of paths) {
      c.strokeStyle = ink;
      c.stroke(path);
    }
  }

  #writeNumbers(c, { matrix, signs }, shown, { margin, w, h }) {
    c.textAlign = "center";
    c.textBaseline = "middle";
    const theme = themeNow(), top = this.#top(matrix), start = this.#start(matrix);
    this.#each(shown, (row, column) => {
      const value = matrix.at(row, column), colour = colourOf(this.#share(value, top, start), value < 0, theme, signs);
      c.fillStyle = greyOf(colour) > 130 ? "#000" : "#fff";
      c.fillText(numberText(value), margin + (column - this.left + .5) * w, margin + (row - this.top + .5) * h, w - 3);
    });
  }

  // Names along both edges, as many as find room.
  #writeNames(c, matrix, shown, { margin, across, down, w, h }) {
    const room = Math.max(3, Math.floor((margin - 8) / 6.7)), every = cell => Math.max(1, Math.ceil(13 / cell));
    c.textBaseline = "middle";
    c.textAlign = "right";
    for (let r = Math.ceil(shown.rows[0] / every(h)) * every(h); r < shown.rows[1]; r += every(h)) {
      const y = margin + (r - this.top + .5) * h;
      if (y > margin && y < margin + down) c.fillText(clipped(matrix.down.label(r), room), margin - 5, y);
    }
    c.textAlign = "left";
    for (let k = Math.ceil(shown.columns[0] / every(w)) * every(w); k < shown.columns[1]; k += every(w)) {
      const x = margin + (k - this.left + .5) * w;
      if (x < margin || x > margin + across) continue;
      c.save();
      c.translate(x, margin - 5);
      c.rotate(-Math.PI / 2);
      c.fillText(clipped(matrix.across.label(k), room), 0, 0);
      c.restore();
    }
    c.fillStyle = getComputedStyle(document.body).getPropertyValue("--soft");
    c.fillText(`${matrix.down.what} ↓`, 1, margin - 18, margin - 4);
    c.fillText(`${matrix.across.what} →`, 1, margin - 32, margin - 4);
  }

  #drawCross(c, at, colour) {
    const { margin, across, down, w, h } = at;
    const x = margin + (this.cell.column - this.left) * w, y = margin + (this.cell.row - this.top) * h;
    c.strokeStyle = colour;
    c.save();
    this.#clip(c, at);
    c.globalAlpha = .35;
    c.strokeRect(margin - 2, y, across + 4, h);
    c.strokeRect(x, margin - 2, w, down + 4);
    c.globalAlpha = 1;
    c.lineWidth = 2;
    c.strokeRect(x - 1, y - 1, w + 2, h + 2);
    c.restore();
  }

  #drawKey(map) {
    const { key, matrix, signs } = map, width = key.clientWidth, theme = themeNow(), top = this.#top(matrix);
    if (width === 0) return;
    const c = this.#context(key, width, 12), signed = this.maps.some(other => other.matrix.scale === matrix.scale && other.matrix.low < 0);
    const start = this.#start(matrix), low = signed && (this.look.shared || matrix.low < 0) ? -top : start;
    for (let x = 0; x < width; ++x) {
      const value = low + (top - low) * x / Math.max(1, width - 1);
      const colour = colourOf(this.#share(value, top, start), value < 0, theme, signs);
      c.fillStyle = `rgb(${colour})`;
      c.fillRect(x, 0, 1.5, 12);
      if (value >= 0 || signs === "lightness" || this.look.sign > 0) continue;
      c.fillStyle = hatchOn(colour);
      c.fillRect(x, 10 - 2 * (x % 6), 1, 3);  // rising lines
    }
    map.range.textContent = `Colours from ${numberText(low)} to ${numberText(top)}, ${kCurveNames[this.look.curve]}; the cells ` +
      `go from ${numberText(matrix.low)} to ${numberText(matrix.high)}; ${matrix.cellText()}.${signed ? this.#signText(map) : ""}`;
  }

  // How negative numbers can be told.
  #signText(map) {
    const ways = themeNow() === "dark" ? ["darker", "lighter"] : ["lighter", "darker"];
    if (map.signs === "lightness")
      return ` Negative numbers are ${ways[0]} than 0, which is a middle grey, positive ones ${ways[1]}` +
        `${this.look.signs === "automatic" ? ", as cells are too small to hatch" : ""}.`;
    const { w, h } = this.#layout(map);
    return Math.min(w, h) >= kLeastHatched ? " Negative numbers are hatched."
      : " Cells are too small to hatch: in grey, “Signs by lightness” tells negative numbers.";
  }

  // What a pointer, the wheel and keys do.
  #listen(map) {
    const { canvas } = map;
    canvas.addEventListener("pointermove", e => this.#moved(map, e));
    canvas.addEventListener("pointerdown", e => {
      canvas.setPointerCapture(e.pointerId);
      this.pointers.set(e.pointerId, e);
      this.#point(map, e);
    });
    canvas.addEventListener("pointerup", e => {
      if (this.pointers.delete(e.pointerId) && !this.dragged && this.cell) this.#keep();
      if (this.pointers.size === 0) this.dragged = false;
    });
    canvas.addEventListener("pointercancel", e => {
      this.pointers.delete(e.pointerId);
      if (this.pointers.size === 0) this.dragged = false;
    });
    canvas.addEventListener("pointerleave", e => { if (e.pointerType === "mouse") this.#leave(); });
    canvas.addEventListener("blur", () => this.#leave());
    canvas.addEventListener("wheel", e => {
      const ours = e.ctrlKey || e.metaKey;
      if (!ours && !this.maps.some(other => other.canvas === document.activeElement)) return;
      if (!ours && this.scale === 1 && e.deltaY > 0) return;  // all is shown: the page scrolls on
      e.preventDefault();
      this.zoom(map, Math.exp(-e.deltaY / 300), e.offsetX, e.offsetY);
    }, { passive: false });
    canvas.addEventListener("dblclick", () => this.reset());
    canvas.addEventListener("keydown", e => { if (this.#key(map, e)) e.preventDefault(); });
  }

  #keep() {
    this.kept = this.cell;
    this.told(this.cell, true);
  }

  #leave() {
    this.select(this.kept);
  }

  #moved(map, e) {
    const before = this.pointers.get(e.pointerId);
    if (!before) return this.#point(map, e);
    const { w, h } = this.#layout(map), right = before.offsetX - e.offsetX, down = before.offsetY - e.offsetY;
    if (!this.dragged && this.pointers.size === 1 && Math.hypot(right, down) < 4) return;  // a click that trembles
    this.dragged = true;
    if (this.pointers.size === 1) this.move(right / w, down / h);
    if (this.pointers.size === 2) {
      const other = [...this.pointers.values()].find(p => p.pointerId !== e.pointerId);
      const apart = p => Math.hypot(p.clientX - other.clientX, p.clientY - other.clientY) || 1;
      this.zoom(map, apart(e) / apart(before), (e.offsetX + other.offsetX) / 2, (e.offsetY + other.offsetY) / 2);
    }
    this.pointers.set(e.pointerId, e);
  }

  #point(map, e) {
    const { margin, w, h } = this.#layout(map);
    const row = Math.floor((e.offsetY - margin) / h + this.top), column = Math.floor((e.offsetX - margin) / w + this.left);
    const inside = e.offsetX >= margin && e.offsetY >= margin && row < this.rows && column < this.columns;
    if (inside) this.select({ row, column }, e.clientX, e.clientY);
    else this.#leave();
  }

  #key(map, e) {
    const step = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] }[e.key];
    if (step && e.shiftKey) this.move(step[0] * this.columns / this.scale / 8, step[1] * this.rows / this.scale / 8);
    else if (step) this.#step(map, ...step);
    else if (e.key === "+" || e.key === "=") this.zoomMiddle(map, 1.5);
    else if (e.key === "-") this.zoomMiddle(map, 1 / 1.5);
    else if (e.key === "0") this.reset();
    else if (e.key === "Enter" && this.cell) this.#keep();
    else if (e.key === "Escape") this.#letGo();
    else return false;
    return true;
  }

  #letGo() {
    this.kept = null;
    this.select(null);
  }

  #step(map, right, down) {
    const within = (x, most) => Math.min(Math.max(x, 0), most - 1);
    const from = this.cell ?? { row: Math.floor(this.top) - down, column: Math.floor(this.left) - right };
    const to = { row: within(from.row + down, this.rows), column: within(from.column + right, this.columns) };
    const follow = (start, x, seen) => x < start ? x : x >= start + seen ? x - seen + 1 : start;
    this.left = follow(this.left, to.column, this.columns / this.scale);
    this.top = follow(this.top, to.row, this.rows / this.scale);
    this.select(to, ...this.middleOf(map, to.row, to.column));
  }

  // Where the middle of a cell is in the window.
  middleOf(map, row, column) {
    const { margin, w, h } = this.#layout(map), box = map.canvas.getBoundingClientRect();
    return [box.left + margin + (column - this.left + .5) * w, box.top + margin + (row - this.top + .5) * h];
  }

  // Names of query and key, and what each of the matrices has there.
  describe({ row, column }) {
    const { down, across } = this.maps[0].matrix;
    return [down.text(row), across.text(column),
      ...this.maps.map(({ matrix }) => `${matrix.title}: ${numberText(matrix.at(row, column))}${
        matrix.reduced ? matrix.how === "mean" ? " (mean)" : " (largest)" : ""}`)];
  }

  select(cell, x, y) {
    const changed = this.cell?.row !== cell?.row || this.cell?.column !== cell?.column;
    this.cell = cell;
    if (cell && x !== undefined) showTip(this, this.describe(cell), x, y);
    else hideTip(this);
    if (!changed) return;
    this.told(cell, false);
    this.draw();
  }

  zoomMiddle(map, factor) {
    const { margin, across, down } = this.#layout(map);
    this.zoom(map, factor, margin + across / 2, margin + down / 2);
  }

  zoom(map, factor, x, y) {
    const { margin, w, h } = this.#layout(map), most = Math.max(1, Math.max(this.rows, this.columns) / 4);
    const next = Math.min(Math.max(this.scale * factor, 1), most);
    const kept = 1 - this.scale / next;  // of the distance from the corner to the pointer
    this.left += (x - margin) / w * kept;
    this.top += (y - margin) / h * kept;
    this.scale = next;
    this.move(0, 0);
  }

  move(right, down) {
    const within = (v, extent) => Math.min(Math.max(v, 0), extent - extent / this.scale);
    this.left = within(this.left + right, this.columns);
    this.top = within(this.top + down, this.rows);
    this.draw();
  }

  reset() {
    this.scale = 1;
    this.left = this.top = 0;
    this.draw();
  }
}
