// A picture of `columns` x `rows` pixels made smaller along one side, of which every new pixel is the mean of what it
// covers. A canvas smooths both sides at once, and cells bleed into each other along the side that has room.
function shrunk(image, columns, rows) {
  const made = new ImageData(columns, rows), across = columns < image.width;
  const from = across ? image.width : image.height, to = across ? columns : rows;
  const step = across ? 4 : 4 * image.width, stepMade = across ? 4 : 4 * columns;  // bytes from one to the next
  const lines = across ? rows : columns, line = across ? 4 * image.width : 4, lineMade = across ? 4 * columns : 4;
  for (let k = 0; k < to; ++k) {
    const begin = k * from / to, end = (k + 1) * from / to;
    for (let l = 0; l < lines; ++l)
      for (let byte = 0; byte < 4; ++byte) {
        let sum = 0;
        for (let i = Math.floor(begin); i < Math.min(from, Math.ceil(end)); ++i)
          sum += image.data[l * line + i * step + byte] * (Math.min(i + 1, end) - Math.max(i, begin));
        made.data[l * lineMade + k * stepMade + byte] = sum / (end - begin);
      }
  }
  return made;
}

function canvasOf(image) {
  const canvas = new OffscreenCanvas(image.width, image.height);
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}
