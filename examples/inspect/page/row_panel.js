// What the query that is pointed at makes of all keys: the strongest of them, and, of an image, all as a picture.
class RowPanel {
  static last;  // query, which the panels of other layers and heads begin with

  // numbers: of the maps' pictures. Whatever their cells are, here they are blocks' largest entries: a mean would hide
  // strong keys among weak ones.
  constructor(parent, maps, numbers) {
    this.maps = maps;
    const shown = numbers.map(number => new Matrix(data.pictures[number], "largest"));
    this.box = add(parent, "div", { class: "row" });
    add(this.box, "p", { class: "soft" }, `Point at a cell for its numbers and its query's strongest keys. ${kHelp}`);
    this.title = add(this.box, "h3");
    this.about = add(this.box, "p", { class: "soft" });
    const both = add(this.box, "div", { class: "both" });
    this.lists = shown.filter(({ id }) => ["mixing", "alone", "softmax"].includes(id)).map(matrix => {
      const box = add(both, "div");
      add(box, "h4", {}, matrix.title);
      return { matrix, list: add(box, "div") };
    });
    if (data.image) this.#addPictures(both);
    this.show({ row: Math.min(RowPanel.last ?? Math.floor(middleToken() / maps.maps[0].matrix.down.block), maps.rows - 1) });
  }

  show(cell) {
    if (!cell) return;  // what was shown last stays
    const { matrix } = this.lists[0];
    this.row = RowPanel.last = cell.row;
    this.title.textContent = `The strongest keys of ${matrix.down.text(cell.row)}`;
    const signed = this.lists.some(({ matrix: of }) => strongest(of, cell.row, 8).some(column => of.at(cell.row, column) < 0));
    this.about.textContent = [matrix.reduced ? `Of the blocks in its row; of each the entry of largest magnitude of ${matrix.down.block} × ${matrix.across.block}.` : "",
      signed ? "Hatched bars are negative." : ""].join(" ").trim();
    for (const { matrix: of, list } of this.lists) {
      list.replaceChildren();
      addBars(list, strongest(of, cell.row, 8).map(column => ({ value: of.at(cell.row, column), name: of.across.text(column).replace(/^key /, "") })));
    }
    for (const draw of this.pictures ?? []) draw();
  }

  #addPictures(parent) {
    const box = add(parent, "div", { class: "pictures" });
    addPixels(box, "the input", i => [0, 1, 2].map(() => data.image.grey[i]), i => data.details[position(i)]);
    this.pictures = this.lists.map(({ matrix }) => addPixels(box, `its row: ${matrix.title.toLowerCase()}`,
      pixel => this.#colour(matrix, pixel), pixel => `${data.details[position(pixel)]}: ${numberText(this.#value(matrix, pixel))}`,
      { negative: pixel => this.#signs(matrix) === "hue" && this.#value(matrix, pixel) < 0, outlined: () => this.#query(matrix) }));
    add(parent, "p", { class: "soft" }, "The frame in a row's picture is the query itself; its strongest key has the strongest colour. Negative numbers are hatched; with Signs by lightness, and where pixels are too small to hatch, 0 is a middle grey and they lie on its other side.");
  }

  // Its pixels; none where the query is a token of the model's own.
  #query(matrix) {
    if (this.row === undefined) return null;
    const pixels = data.image.rows * data.image.columns, [first, last] = matrix.down.range(this.row).map(i => i - data.image.first);
    return last < 0 || first >= pixels ? null : [Math.max(first, 0), Math.min(last, pixels - 1)];
  }

  #value(matrix, pixel) {
    return this.row === undefined ? 0 : matrix.at(this.row, Math.floor(position(pixel) / matrix.across.block));
  }

  // Pixels of the page, as style.css has it, for each one of the image.
  #signs(matrix) { return signsOf(matrix.low < 0, 256 / data.image.columns); }

  #colour(matrix, pixel) {
    const signs = this.#signs(matrix);
    if (this.row === undefined) return colourOf(0, false, themeNow(), signs);
    let most = 0;
    for (let k = 0; k < matrix.columns; ++k) most = Math.max(most, Math.abs(matrix.at(this.row, k)));
    const value = this.#value(matrix, pixel);
    return colourOf(Math.sqrt(Math.abs(value) / (most || 1)), value < 0, themeNow(), signs);
  }
}

// Padding stands behind the last one.
function middleToken() { return Math.floor((data.tokens.length - data.padding) / 2); }

// Columns of a row with the largest magnitudes, the largest first.
function strongest(matrix, row, count) {
  const size = column => Math.abs(matrix.at(row, column));
  return [...Array(matrix.columns).keys()].filter(size).sort((a, b) => size(b) - size(a)).slice(0, count);
}
