// Places of a picture that pointer, finger and keys go to, one at a time: points of a curve, pixels, tokens.
//
// walk: count of places; under(event), the place below a pointer, or -1; lines(i), what is said of one; middle(i), where
// it is in the window; mark(i or null), which shows where one is; above(i, down), the place one line up (-1) or down
// (1), where there are lines.
function addWalk(element, walk) {
  let here = null;
  const go = (i, x, y) => {
    here = i;
    walk.mark(i);
    showTip(element, walk.lines(i), ...(x === undefined ? walk.middle(i) : [x, y]));
  };
  const leave = () => {
    walk.mark(null);
    hideTip(element);
  };
  const point = e => {
    const i = walk.under(e);
    if (i >= 0) go(i, e.clientX, e.clientY);
  };
  const steps = { ArrowRight: i => i + 1, ArrowLeft: i => i - 1, Home: () => 0, End: () => walk.count - 1,
    PageDown: i => i + Math.ceil(walk.count / 10), PageUp: i => i - Math.ceil(walk.count / 10),
    ...(walk.above && { ArrowUp: i => walk.above(i, -1), ArrowDown: i => walk.above(i, 1) }) };
  element.setAttribute("tabindex", 0);
  element.addEventListener("pointerdown", point);
  element.addEventListener("pointermove", point);
  element.addEventListener("pointerleave", e => { if (e.pointerType === "mouse") leave(); });  // a finger's stays
  element.addEventListener("pointercancel", leave);
  element.addEventListener("focus", () => { if (element.matches(":focus-visible")) go(here ?? 0); });
  element.addEventListener("blur", leave);
  element.addEventListener("keydown", e => {
    if (e.key === "Escape") return leave();
    if (!steps[e.key] || e.ctrlKey || e.metaKey || e.altKey) return;
    e.preventDefault();
    go(Math.min(Math.max(steps[e.key](here ?? 0), 0), walk.count - 1));
  });
}

const kWalkHelp = "Arrows go from one to the next.";
