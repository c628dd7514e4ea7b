// From the colour of the paper, which is 0, to the most: lightness changes all the way in one direction, so that a scale
// can be read without its hues. Positive numbers go over blue, negative ones over orange; they are hatched, too, where a
// cell has room for that. Cells of few dots have none: `lightness` puts 0 in the middle, and positive numbers take from
// it what negative ones add, which a grey print keeps. What has both signs and small cells gets it without being asked.
const kScales = {
  light: {
    positive: [[255, 255, 255], [198, 222, 240], [120, 178, 219], [38, 119, 181], [8, 66, 128], [4, 26, 62]],
    negative: [[255, 255, 255], [252, 223, 188], [245, 172, 96], [208, 106, 18], [137, 58, 6], [66, 26, 4]],
  },
  dark: {
    positive: [[21, 24, 28], [22, 52, 82], [28, 96, 150], [66, 150, 210], [146, 204, 240], [236, 248, 255]],
    negative: [[21, 24, 28], [70, 38, 14], [128, 68, 18], [196, 112, 30], [240, 170, 92], [255, 240, 220]],
  },
};

const kLightnessScales = {
  light: {
    positive: [[164, 164, 164], [112, 140, 172], [58, 102, 156], [20, 62, 122], [8, 32, 74], [2, 10, 30]],
    negative: [[164, 164, 164], [200, 178, 144], [228, 194, 140], [246, 214, 160], [253, 235, 204], [255, 250, 238]],
  },
  dark: {
    positive: [[112, 112, 112], [120, 146, 170], [136, 178, 214], [166, 206, 238], [204, 228, 248], [244, 250, 255]],
    negative: [[112, 112, 112], [112, 84, 58], [94, 58, 26], [70, 38, 12], [44, 22, 6], [14, 6, 2]],
  },
};

// How a magnitude between 0 and 1 is shown: weights of attention spread over many powers of ten.
const kCurves = {
  linear: share => share,
  root: share => Math.sqrt(share),
  decades: share => share <= 1e-4 ? 0 : 1 + Math.log10(share) / 4,
};
const kCurveNames = { linear: "linear", root: "square root", decades: "four decades" };

const kLeastHatched = 4;  // dots along a cell

// "hue" or "lightness" for cells of so many dots; paper has fewer of them than the screen.
function signsOf(signed, side) {
  if (look.signs !== "automatic") return look.signs;
  return signed && side < (matchMedia("print").matches ? 2 : 1) * kLeastHatched ? "lightness" : "hue";
}

// share of the most; signs: "hue" or "lightness".
function colourOf(share, negative, theme, signs) {
  const stops = (signs === "lightness" ? kLightnessScales : kScales)[theme][negative ? "negative" : "positive"];
  const place = Math.min(Math.max(share, 0), 1) * (stops.length - 1), below = Math.min(Math.floor(place), stops.length - 2);
  return stops[below].map((from, i) => Math.round(from + (stops[below + 1][i] - from) * (place - below)));
}

function greyOf([red, green, blue]) { return .3 * red + .59 * green + .11 * blue; }

// Lines that are seen on it.
function hatchOn(colour) { return greyOf(colour) > 110 ? "rgba(0,0,0,.55)" : "rgba(255,255,255,.7)"; }

// One colour for each of the 65536 values that a cell may have.
function palette(matrix, share, theme, signs) {
  const colours = new Uint32Array(65536), step = (matrix.high - matrix.low) / 65535;
  const view = new Uint8ClampedArray(colours.buffer);
  for (let i = 0; i < 65536; ++i) {
    const value = matrix.low + step * i;
    view.set([...colourOf(share(value), value < 0, theme, signs), 255], 4 * i);
  }
  return colours;
}
