// A matrix as the page holds it: cells of 16 bits between `low` and `high`. Where a side has more entries than cells, a
// cell stands for a block of them: their mean, or the one of largest magnitude, whichever is chosen.
class Matrix {
  constructor(record, how) {
    Object.assign(this, { id: record.id, title: record.title, about: record.about, scale: record.scale });
    this.down = new Axis(record.rows);
    this.across = new Axis(record.columns);
    this.rows = this.down.cells;
    this.columns = this.across.cells;
    const kept = record.cells.find(cells => cells.how === how) ?? record.cells[0];
    Object.assign(this, { how: kept.how, low: kept.low, high: kept.high });
    this.cells = numbersOf(kept.data);
    if (this.cells.length !== this.rows * this.columns) throw new Error(`${this.title}: ${this.cells.length} cells`);
    this.largest = Math.max(Math.abs(this.low), Math.abs(this.high), record.least ?? 0) || 1;
  }

  at(row, column) {
    return this.low + (this.high - this.low) * this.cells[row * this.columns + column] / 65535;
  }

  get reduced() { return this.down.block > 1 || this.across.block > 1; }

  // What one of its cells is.
  cellText() {
    if (!this.reduced) return "each cell one entry";
    const how = this.how === "mean" ? "mean" : "entry of largest magnitude";
    return `each cell the ${how} of ${this.down.block} × ${this.across.block} entries`;
  }
}

// What the cells of pictures side by side are where nobody chose: means, or, where one of them has both signs, which a
// mean lets cancel, the largest entries; in all layers and heads alike.
function automaticCells(records) { return records.some(({ scale }) => signedScales().has(scale)) ? "largest" : "mean"; }

// Scales of which a picture has both signs, beyond rounding.
let foundSigned = null;
function signedScales() {
  const signed = ({ low, high }, least) => Math.max(-low, high) > least && Math.min(-low, high) > Math.max(-low, high) / 2000;
  foundSigned ??= new Set(data.pictures.filter(({ cells, least }) => cells.some(one => signed(one, least))).map(({ scale }) => scale));
  return foundSigned;
}

function numbersOf(base64) {
  return new Uint16Array(Uint8Array.from(atob(base64), c => c.charCodeAt(0)).buffer);
}

// The entries along one side: `what` they are, how many, how many a cell stands for, and their names: those of the
// input's tokens, a list, or just numbers.
class Axis {
  constructor(record) {
    Object.assign(this, record);
    this.cells = Math.ceil(this.count / this.block);
    this.ofTokens = this.names === "tokens";
  }

  range(cell) { return [cell * this.block, Math.min((cell + 1) * this.block, this.count) - 1]; }

  name(i) { return this.ofTokens ? data.tokens[i] ?? "" : this.names?.[i] ?? ""; }

  // Beside the picture: short.
  label(cell) {
    const [first, last] = this.range(cell);
    if (!this.ofTokens && this.names) return this.name(first).split(" ‘")[0];
    const name = `${this.name(first)}${last > first ? "…" : ""}`;
    return data.image && this.ofTokens ? name : `${name} ${first}`.trim();  // a pixel's name is its place
  }

  // In words: "query 7 ‘[MAX’", "key 8 to 11 ‘2 4 1 ]’".
  text(cell) {
    const [first, last] = this.range(cell);
    if (first === last) {
      const detail = this.ofTokens ? data.details?.[first] : null;
      if (!this.ofTokens && this.names) return `${this.what} ${first}: ${this.name(first)}`;
      return `${this.what} ${first} ${detail ?? quotedText(this.name(first))}`.trim();
    }
    const names = this.ofTokens ? data.tokens.slice(first, last + 1).join(" ") : "";
    return `${this.what} ${first} to ${last} ${quotedText(clipped(names, 40))}`.trim();
  }
}

function quotedText(text) { return text ? `‘${text}’` : ""; }

// Four digits that count, in few characters.
function numberText(x) {
  const magnitude = Math.abs(x), plain = x === 0 || (magnitude >= 1e-3 && magnitude < 1e5);
  return (plain ? String(Number(x.toPrecision(4))) : Number(x.toPrecision(4)).toExponential()).replaceAll("-", "−").replace("+", "");
}
