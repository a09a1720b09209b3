// Five support pads with tags that can be dragged from one to another, and a query pad. Stands after ink.js.
function render({ model, el }) {
  el.classList.add("kshot-pads");
  el.setAttribute("data-lm-suppress-shortcuts", "true");
  const labels = model.get("labels"), colours = model.get("colours"), ways = labels.length;
  const send = eachFrame(() => {
    model.set("drawn", pads.map((pad) => pad.strokes()));
    model.save_changes();
  });
  const part = (kind, name) => {
    const node = document.createElement(kind);
    node.className = name;
    return node;
  };
  const title = (words) => Object.assign(part("div", "kshot-pads-title"), { textContent: words });

  const pads = [], cells = [];
  for (let i = 0; i <= ways; i++) {
    const name = i < ways ? `support ${i + 1}` : "query";
    const pad = inkPad({ name, size: i < ways ? 100 : 100, changed: send });
    const cell = part("div", "kshot-pads-cell");
    const head = part("div", "kshot-pads-head");
    cell.append(head, pad.canvas, inkButtons(pad, name));
    cell.dataset.pad = i;
    pads.push(pad);
    cells.push(cell);
  }
  const support = part("div", "kshot-pads-group"), query = part("div", "kshot-pads-group");
  const row = part("div", "kshot-pads-row");
  row.append(...cells.slice(0, ways));
  support.append(title("D_train: one drawing of each. Drag a tag onto another to swap them."), row);
  query.append(title("x: draw what you ask"), cells[ways]);
  cells[ways].firstChild.textContent = "?";
  const surprise = part("button", "kshot-surprise");
  surprise.type = "button";
  surprise.textContent = "Surprise me";
  surprise.addEventListener("click", () => {
    model.set("surprises", model.get("surprises") + 1);
    model.save_changes();
  });
  query.append(surprise);
  el.append(support, query);

  // tags: model.tags[pad] is the label on that pad
  const tags = labels.map((label, i) => {
    const tag = part("button", "kshot-tag");
    tag.type = "button";
    tag.textContent = label;
    tag.style.background = colours[i];
    tag.setAttribute("aria-roledescription", "draggable label");
    let from = null;
    tag.addEventListener("pointerdown", (event) => {
      if (event.button > 0) return;
      event.preventDefault();
      tag.setPointerCapture(event.pointerId);
      tag.focus({ preventScroll: true });
      from = [event.clientX, event.clientY];
      tag.classList.add("kshot-tag-held");
    });
    tag.addEventListener("pointermove", (event) => {
      if (!from) return;
      tag.style.transform = `translate(${event.clientX - from[0]}px, ${event.clientY - from[1]}px)`;
      const over = under(event);
      cells.forEach((cell, j) => cell.classList.toggle("kshot-pads-target", j === over && j !== padOf(i)));
    });
    const drop = (event) => {
      if (!from) return;
      const over = event.type === "pointerup" ? under(event) : null;
      from = null;
      tag.style.transform = "";
      tag.classList.remove("kshot-tag-held");
      cells.forEach((cell) => cell.classList.remove("kshot-pads-target"));
      if (over !== null) swap(padOf(i), over);
    };
    tag.addEventListener("pointerup", drop);
    tag.addEventListener("pointercancel", drop);
    tag.addEventListener("keydown", (event) => {
      const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!by) return;
      event.preventDefault();
      event.stopPropagation();
      swap(padOf(i), (padOf(i) + by + ways) % ways);
      tag.focus({ preventScroll: true });
    });
    return tag;
  });
  const padOf = (label) => model.get("tags").indexOf(label);
  function under(event) {
    const found = cells.findIndex((cell) => {
      const box = cell.getBoundingClientRect();
      return event.clientX >= box.left && event.clientX <= box.right && event.clientY >= box.top - 12
        && event.clientY <= box.bottom;
    });
    return found >= 0 && found < ways ? found : null;
  }
  function swap(a, b) {
    if (a === b) return;
    const next = [...model.get("tags")];
    [next[a], next[b]] = [next[b], next[a]];
    model.set("tags", next);
    placeTags();
    try { model.save_changes(); } catch { /* the kernel is gone */ }
  }
  function placeTags() {
    model.get("tags").forEach((label, i) => {
      cells[i].firstChild.append(tags[label]);
      cells[i].style.setProperty("--label", colours[label]);
      tags[label].setAttribute("aria-label", `label ${labels[label]} on support ${i + 1}; arrow keys swap it with its neighbour`);
    });
  }
  function show() {
    const bytes = bytesOf(model.get("presets"));
    pads.forEach((pad, i) => pad.show(bytes.subarray(784 * i, 784 * (i + 1))));
  }
  function near() {
    cells.forEach((cell, i) => cell.classList.toggle("kshot-pads-near", i === model.get("nearest")));
  }
  show();
  (model.get("drawn") ?? []).forEach((strokes, i) => strokes && pads[i].restore(strokes));
  placeTags();
  near();
  const on = [["change:presets", show], ["change:tags", placeTags], ["change:nearest", near]];
  for (const [name, f] of on) model.on(name, f);
  return () => { for (const [name, f] of on) model.off(name, f); };
}

export default { render };
