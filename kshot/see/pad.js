// One drawing pad, with a small view of what the learner gets. Stands after ink.js in one module.
function render({ model, el }) {
  el.classList.add("kshot-pad");
  el.setAttribute("data-lm-suppress-shortcuts", "true");
  const send = eachFrame(() => {
    model.set("drawn", { strokes: pad.strokes() });
    model.save_changes();
  });
  const pad = inkPad({ name: model.get("name"), size: model.get("size"), changed: send });
  const seen = document.createElement("canvas");
  seen.width = seen.height = 28;
  seen.className = "kshot-seen";
  seen.setAttribute("role", "img");
  seen.setAttribute("aria-label", "the 28 by 28 pixels that the learner gets");
  const side = document.createElement("figure");
  const words = document.createElement("figcaption");
  words.textContent = "what the learner gets";
  side.append(seen, words, inkButtons(pad, ""));
  el.append(pad.canvas, side);

  function look() {
    const pixels = new ImageData(28, 28);
    bytesOf(model.get("seen")).forEach((ink, i) => pixels.data.set([255 - ink, 255 - ink, 255 - ink, 255], 4 * i));
    seen.getContext("2d").putImageData(pixels, 0, 0);
  }
  const preset = () => pad.show(bytesOf(model.get("preset")));
  preset();
  if (model.get("drawn").strokes) pad.restore(model.get("drawn").strokes);
  look();
  model.on("change:seen", look);
  model.on("change:preset", preset);
  return () => {
    model.off("change:seen", look);
    model.off("change:preset", preset);
  };
}

export default { render };
