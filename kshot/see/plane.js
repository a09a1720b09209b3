// The picture and its handles. Data coordinates are those of the axes described by the `plane` trait.
const PATIENCE_MS = 4000;

function scaler(limits, log) {
  const f = log ? Math.log10 : (v) => v;
  const back = log ? (v) => 10 ** v : (v) => v;
  const [a, b] = [f(limits[0]), f(limits[1])];
  return { to: (v) => (f(v) - a) / (b - a), from: (t) => back(a + t * (b - a)) };
}

function coordinates(plane) {
  const x = scaler(plane.xlim, plane.xlog), y = scaler(plane.ylim, plane.ylog);
  const w = plane.right - plane.left, h = plane.bottom - plane.top;
  const clamp = (t) => Math.min(1, Math.max(0, t));
  return {
    toPicture: ([u, v]) => [plane.left + w * x.to(u), plane.bottom - h * y.to(v)],
    toData: ([p, q]) => [x.from(clamp((p - plane.left) / w)), y.from(clamp((plane.bottom - q) / h))],
    step: ([u, v], dx, dy) => [x.from(clamp(x.to(u) + dx)), y.from(clamp(y.to(v) + dy))],
  };
}

const brief = (v) => Number(v.toPrecision(3)).toString();

// ipywidgets gives its controls no accessible names: take them from the words beside them.
function nameControls(root) {
  for (const row of root.querySelectorAll(".widget-inline-hbox")) {
    const words = row.querySelector(".widget-label")?.textContent?.trim();
    if (!words) continue;
    for (const el of row.querySelectorAll(".noUi-handle, select, input, [contenteditable]"))
      if (!el.getAttribute("aria-label")) el.setAttribute("aria-label", words);
    const group = row.querySelector(".widget-toggle-buttons, .jupyter-widget-toggle-buttons");
    group?.setAttribute("role", "group");
    group?.setAttribute("aria-label", words);
  }
}

function render({ model, el }) {
  el.classList.add("kshot-plane");
  el.setAttribute("data-lm-suppress-shortcuts", "true"); // else Lab takes the arrow keys in command mode
  el.innerHTML =
    '<p class="kshot-challenge"></p><div class="kshot-card"><img draggable="false"><div class="kshot-handles"></div></div>' +
    '<p class="kshot-note" role="status"></p><p class="kshot-error" role="alert"></p>';
  const [challenge, card, note, error] = el.children;
  const [img, layer] = card.children;
  let url = null, buttons = [], held = null, serial = model.get("answered"), waiting = false, next = null;
  let clock = null, sharpen = null, begun = false, due = false;

  // question: { moves: { handle: [x, y] } } or { scale }. While one is under way the next ones melt into one.
  function ask(question) {
    if (waiting) {
      next = { ...next, ...question, moves: { ...next?.moves, ...question.moves } };
      return;
    }
    waiting = true;
    serial += 1;
    clearTimeout(sharpen);
    clock = setTimeout(() => {
      waiting = false;
      note.textContent = "No answer yet: the kernel is busy or has stopped. Run the cell again.";
    }, PATIENCE_MS);
    const first = begun && question.moves ? 1 : 0;
    if (first) begun = false;
    try {
      model.set("asked", { ...question, first, serial });
      model.save_changes();
    } catch { /* the kernel is gone: the note above says so */ }
  }

  async function show() {
    const frame = model.get("frame"), answered = model.get("answered"), scale = model.get("scale");
    if (frame?.byteLength) {
      const fresh = URL.createObjectURL(new Blob([frame], { type: "image/png" }));
      const loaded = new Image();
      loaded.src = fresh;
      try { await loaded.decode(); } catch { /* superseded by a newer frame */ }
      if (model.get("frame") === frame) {
        img.src = fresh;
        img.dataset.answered = answered;
        if (url) URL.revokeObjectURL(url);
        url = fresh;
      } else URL.revokeObjectURL(fresh);
    }
    if (answered >= serial && waiting) {
      waiting = false;
      clearTimeout(clock);
      note.textContent = model.get("note");
    }
    if (next && !waiting) { const question = next; next = null; ask(question); }
    const ratio = Math.min(2, window.devicePixelRatio || 1);
    clearTimeout(sharpen);
    if (scale < ratio && !waiting && held === null) sharpen = setTimeout(() => ask({ scale: ratio }), 250);
  }

  function words() {
    img.alt = model.get("alt");
    challenge.textContent = model.get("challenge");
    note.textContent = model.get("note");
    error.textContent = model.get("error");
    card.style.width = `${model.get("width")}px`;
    card.style.aspectRatio = `${model.get("width")} / ${model.get("height")}`;
    card.classList.toggle("kshot-locked", model.get("locked"));
    card.classList.toggle("kshot-nearest", model.get("reach") === "nearest" && !model.get("locked"));
  }

  function place(button, xy) {
    const [p, q] = coordinates(model.get("plane")).toPicture(xy);
    button.style.left = `${100 * p}%`;
    button.style.top = `${100 * q}%`;
    button.setAttribute("aria-label", `${button.dataset.name}: x ${brief(xy[0])}, y ${brief(xy[1])}; arrow keys move it`);
    button.at = xy;
  }

  function drawHandles() {
    const handles = model.get("handles");
    while (buttons.length > handles.length) buttons.pop().remove();
    handles.forEach((handle, i) => {
      if (!buttons[i]) {
        const button = document.createElement("button");
        button.type = "button";
        button.className = "kshot-handle";
        button.addEventListener("keydown", (event) => pressKey(event, i));
        layer.append(button);
        buttons.push(button);
      }
      buttons[i].dataset.name = handle.name;
      buttons[i].dataset.along = handle.along;
      buttons[i].disabled = model.get("locked");
      if (i !== held) place(buttons[i], [handle.x, handle.y]);
    });
  }

  function move(i, xy) {
    const along = model.get("handles")[i].along, old = buttons[i].at;
    const to = [along === "y" ? old[0] : xy[0], along === "x" ? old[1] : xy[1]];
    place(buttons[i], to);
    ask({ moves: { [i]: to } });
  }

  // A curve is drawn through its knots: those between the last place of the pointer and this one move too.
  let last = null;
  function trace(event) {
    const to = dataAt(event), from = last ?? to;
    buttons.forEach((button, i) => {
      const t = (button.at[0] - from[0]) / (to[0] - from[0] || 1);
      if (t > 0 && t < 1) move(i, [button.at[0], from[1] + t * (to[1] - from[1])]);
    });
    const under = nearest(event);
    buttons[held].classList.remove("kshot-held");
    held = under;
    move(held, to);
    last = to;
  }

  const KEYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
  function pressKey(event, i) {
    const way = KEYS[event.key];
    if (!way || model.get("locked")) return;
    event.preventDefault();
    event.stopPropagation();
    begun = begun || !event.repeat;
    const by = event.shiftKey ? 0.1 : 0.02;
    move(i, coordinates(model.get("plane")).step(buttons[i].at, way[0] * by, way[1] * by));
  }

  const dataAt = (event) => {
    const box = card.getBoundingClientRect();
    const at = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    return coordinates(model.get("plane")).toData(at);
  };

  function nearest(event) {
    const handles = model.get("handles"), box = card.getBoundingClientRect();
    const far = buttons.map((button, i) => {
      const [p, q] = coordinates(model.get("plane")).toPicture(button.at);
      const dx = p * box.width + box.left - event.clientX, dy = q * box.height + box.top - event.clientY;
      return handles[i].along === "y" ? Math.abs(dx) : Math.hypot(dx, dy);
    });
    return far.indexOf(Math.min(...far));
  }

  card.addEventListener("pointerdown", (event) => {
    if (model.get("locked") || event.button > 0 || !buttons.length) return;
    const everywhere = model.get("reach") === "nearest";
    const onto = buttons.indexOf(event.target.closest(".kshot-handle"));
    if (onto < 0 && !everywhere) return;
    event.preventDefault();
    card.setPointerCapture(event.pointerId);
    held = everywhere ? nearest(event) : onto;
    buttons[held].focus({ preventScroll: true });
    buttons[held].classList.add("kshot-held");
    begun = true;
    last = null;
    if (everywhere) move(held, dataAt(event));
  });
  card.addEventListener("pointermove", (event) => {
    if (held === null) return;
    if (model.get("handles")[held].along === "y" && model.get("reach") === "nearest") trace(event);
    else move(held, dataAt(event));
  });
  const release = () => {
    if (held === null) return;
    buttons[held].classList.remove("kshot-held");
    held = null;
    show();
  };
  card.addEventListener("pointerup", release);
  card.addEventListener("pointercancel", release);
  // Lab's notebook would scroll or change cells on these keys and drags
  card.addEventListener("touchmove", (event) => held !== null && event.preventDefault(), { passive: false });

  // frame and answered come in one message but as two events
  const soon = () => {
    if (due) return;
    due = true;
    queueMicrotask(() => { due = false; show(); });
  };
  const on = [
    ["change:frame change:answered", soon],
    ["change:alt change:challenge change:note change:error change:width change:height change:locked change:reach", words],
    ["change:handles change:plane change:locked", drawHandles],
  ];
  for (const [names, f] of on) for (const name of names.split(" ")) model.on(name, f);
  words();
  drawHandles();
  show();

  const named = new MutationObserver(() => nameControls(el.closest(".kshot-controls-and-picture") ?? el));
  requestAnimationFrame(() => {
    const root = el.closest(".kshot-controls-and-picture");
    if (!root) return;
    nameControls(root);
    named.observe(root, { childList: true, subtree: true });
  });

  return () => {
    for (const [names, f] of on) for (const name of names.split(" ")) model.off(name, f);
    named.disconnect();
    clearTimeout(clock);
    clearTimeout(sharpen);
    if (url) URL.revokeObjectURL(url);
  };
}

export default { render };
