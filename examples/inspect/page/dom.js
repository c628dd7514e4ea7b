// Pieces of the page that everything else is made of. All text goes in as text: what stands in an input is never read as HTML.
const kSvg = "http://www.w3.org/2000/svg";

function add(parent, name, attributes = {}, text = null) {
  const inSvg = name === "svg" || parent.namespaceURI === kSvg;
  const element = inSvg ? document.createElementNS(kSvg, name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== null) element.textContent = text;
  parent.appendChild(element);
  return element;
}

function clipped(text, most) {
  const letters = [...text];
  return letters.length <= most ? text : letters.slice(0, most - 1).join("") + "…";
}

function themeNow() {
  return matchMedia("(prefers-color-scheme: dark)").matches && !matchMedia("print").matches ? "dark" : "light";
}

// A box beside the pointer, read aloud where a screen reader is used. It is of one picture at a time, which alone hides
// it: a picture that loses the focus has no say in what another one shows.
let tipOwner = null;

function hideTip(owner = tipOwner) {
  if (owner === tipOwner) document.getElementById("tip").hidden = true;
}

function showTip(owner, lines, x, y) {
  const tip = document.getElementById("tip");
  tipOwner = owner;
  tip.hidden = false;
  tip.replaceChildren();
  for (const line of lines) add(tip, "div", {}, line);
  const { width, height } = tip.getBoundingClientRect();
  tip.style.left = `${Math.max(4, Math.min(x + 14, innerWidth - width - 8))}px`;
  tip.style.top = `${y + 18 + height > innerHeight ? Math.max(4, y - height - 12) : y + 18}px`;
}

function addTable(parent, head, rows) {
  const table = add(add(parent, "div", { class: "wide" }), "table");
  const top = add(add(table, "thead"), "tr"), body = add(table, "tbody");
  for (const name of head) add(top, "th", {}, name);
  for (const row of rows) {
    const line = add(body, "tr");
    for (const cell of row) add(line, "td", String(cell).length < 20 ? { class: "short" } : {}, String(cell));
  }
  return table;
}

// Buttons of which one is pressed.
function addChoice(parent, label, names, chosen, choose) {
  const group = add(parent, "div", { class: "choice", role: "group", "aria-label": label });
  add(group, "span", { class: "soft" }, label);
  const buttons = names.map((name, i) => {
    const button = add(group, "button", { type: "button", "aria-pressed": i === chosen }, name);
    button.addEventListener("click", () => {
      buttons.forEach((b, k) => b.setAttribute("aria-pressed", k === i));
      choose(i);
    });
    return button;
  });
  return group;
}
