// The page from its data: what was asked and answered, a bar to choose layer, head and colours by, what is known of
// that head, and what is known of the whole.
const data = JSON.parse(document.getElementById("data").textContent);
const chosen = { layer: 0, head: 0 };

function showHead() {
  const layer = data.layers[chosen.layer], head = layer.heads[chosen.head], place = document.getElementById("head");
  place.style.minHeight = `${place.offsetHeight}px`;  // the page does not scroll while it is made anew
  forgetMaps(place);
  place.replaceChildren();
  add(place, "h2", { class: "title" }, `Layer ${chosen.layer + 1} of ${data.layers.length}, head ${chosen.head + 1} of ${layer.heads.length}`);
  add(place, "p", {}, layer.about);
  if (layer.exact) add(place, "p", { class: "notice" }, layer.exact);
  for (const section of head.sections) addSection(place, section);
  place.style.minHeight = "";
}

// The bar stays, and with it the keyboard's place.
function choose(change) {
  Object.assign(chosen, change);
  showHead();
}

function change(to, anew) {
  Object.assign(look, to);
  if (anew) showHead();
  else repaint();
}

// Layer and head, which a telephone has room to keep in sight; and how pictures look.
function showBar() {
  const whole = document.getElementById("bar"), counted = n => [...Array(n).keys()].map(i => String(i + 1));
  const { heads } = data.layers[0];  // as many in every layer
  const where = data.layers.length > 1 || heads.length > 1 ? add(whole, "div", { class: "where" }) : null;
  if (data.layers.length > 1) addChoice(where, "Layer", counted(data.layers.length), chosen.layer, layer => choose({ layer }));
  if (heads.length > 1) addChoice(where, "Head", counted(heads.length), chosen.head, head => choose({ head }));
  const bar = add(whole, "div", { class: "looks" });
  const curves = Object.keys(kCurves), hows = ["automatic", "mean", "largest"], signs = [0, 1, -1];
  addChoice(bar, "Scale", Object.values(kCurveNames), curves.indexOf(look.curve), i => change({ curve: curves[i] }));
  if (data.pictures.some(picture => picture.cells.length > 1))
    addChoice(bar, "A cell shows", hows, hows.indexOf(look.how), i => change({ how: hows[i] }, true));
  if (data.pictures.some(picture => picture.cells.some(cells => cells.low < 0))) {
    addChoice(bar, "Show", ["both signs", "+", "−"], signs.indexOf(look.sign), i => change({ sign: signs[i] }));
    addChoice(bar, "Signs by", kSigns, kSigns.indexOf(look.signs), i => change({ signs: kSigns[i] }));
  }
  if (data.pictures.some(picture => picture.cells.some(cells => cells.low > 0)))
    addChoice(bar, "Colours start at", ["0", "the least"], look.start === "zero" ? 0 : 1, i => change({ start: ["zero", "least"][i] }));
  addChoice(bar, "Colours", ["shared", "each its own"], look.shared ? 0 : 1, i => change({ shared: i === 0 }));
}

const kWords = "In words: every position of the input is a query, which looks, and a key, which is looked at. The weight " +
  "of a query and a key says how much the query takes of what stands at the key. A head is one such table of weights; a " +
  "layer has one or several side by side. A logit is a raw score, before a softmax makes shares of scores: of a query " +
  "and a key, or of a class of the answer.";

function addAnswer(parent) {
  const { answer } = data, box = add(parent, "section", { class: "answer" });
  add(box, "h2", {}, "The answer");
  add(box, "p", { class: "asked" }, clipped(answer.asked, 400));
  addBars(box, answer.classes.map((found, i) => ({ value: found.probability, name: found.name, strong: i === 0,
    text: `${(100 * found.probability).toFixed(2)} %` })));
  for (const note of answer.notes) add(box, "p", { class: "soft" }, note);
}

function showPage() {
  document.title = data.title;
  const body = document.body;
  add(body, "div", { id: "tip", role: "status", "aria-live": "polite", hidden: "" });
  const top = add(body, "header");
  add(top, "h1", {}, data.title);
  const facts = add(top, "dl", { class: "facts" });
  for (const [name, text] of data.facts) {
    add(facts, "dt", {}, name);
    add(facts, "dd", {}, text);
  }
  add(top, "p", { class: "words" }, kWords);
  if (data.answer) addAnswer(body);
  add(body, "div", { id: "bar", class: "bar" });
  add(body, "main", { id: "head" });
  for (const section of data.sections) addSection(body, section);
  addEventListener("keydown", e => { if (e.key === "Escape") hideTip(); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);
  for (const event of ["beforeprint", "afterprint"]) addEventListener(event, repaint);
  showBar();
  showHead();
}

showPage();
