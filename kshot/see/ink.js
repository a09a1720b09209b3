// Ink on a canvas: mouse, pen, touch and keys. The strokes live here, so drawing never waits for the kernel.
// Coordinates are fractions of the pad, from its top left.
const PEN = 0.045;

function inkPad({ name, size, changed }) {
  const canvas = document.createElement("canvas");
  const sharp = Math.min(3, window.devicePixelRatio || 1);
  canvas.width = canvas.height = size * sharp;
  canvas.className = "kshot-ink";
  canvas.style.width = canvas.style.height = `${size}px`;
  canvas.tabIndex = 0;
  canvas.setAttribute("role", "application");
  canvas.setAttribute("aria-label",
    `${name}. Drawing pad. Arrow keys move the pen, Space sets it down or lifts it, Backspace undoes, Delete clears.`);
  const g = canvas.getContext("2d");
  let strokes = null, preset = null, drawing = false, cursor = null, penDown = false;

  function paint() {
    g.setTransform(canvas.width, 0, 0, canvas.height, 0, 0);
    g.fillStyle = "#fff";
    g.fillRect(0, 0, 1, 1);
    if (strokes === null && preset) {
      g.imageSmoothingEnabled = false;
      g.drawImage(preset, 0, 0, 1, 1);
    }
    g.lineWidth = PEN;
    g.lineCap = g.lineJoin = "round";
    g.strokeStyle = "#111";
    for (const stroke of strokes ?? []) {
      g.beginPath();
      g.moveTo(...stroke[0]);
      for (const at of stroke) g.lineTo(...at);
      if (stroke.length === 1) g.lineTo(stroke[0][0] + 1e-4, stroke[0][1]);
      g.stroke();
    }
    if (cursor && document.activeElement === canvas) {
      g.beginPath();
      g.arc(...cursor, 0.035, 0, 7);
      g.lineWidth = 0.012;
      g.strokeStyle = "#0072b2";
      g.fillStyle = penDown ? "#0072b2" : "transparent";
      g.fill();
      g.stroke();
    }
  }
  const tell = () => { paint(); changed(); };
  const round = (v) => Math.round(Math.min(1, Math.max(0, v)) * 1e4) / 1e4;
  const at = (event) => {
    const box = canvas.getBoundingClientRect();
    return [round((event.clientX - box.left) / box.width), round((event.clientY - box.top) / box.height)];
  };
  function extend(point) {
    const stroke = strokes.at(-1), last = stroke.at(-1);
    if (Math.hypot(point[0] - last[0], point[1] - last[1]) > 0.004) stroke.push(point);
  }
  const begin = (point) => { strokes = [...(strokes ?? []), [point]]; };
  function undo() {
    penDown = drawing = false;
    strokes = strokes?.length > 1 ? strokes.slice(0, -1) : null;
    tell();
  }
  function clear() {
    penDown = drawing = false;
    strokes = [];
    tell();
  }

  canvas.addEventListener("pointerdown", (event) => {
    if (event.button > 0) return;
    event.preventDefault();
    canvas.setPointerCapture(event.pointerId);
    canvas.focus({ preventScroll: true });
    cursor = null;
    drawing = true;
    begin(at(event));
    tell();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!drawing) return;
    for (const each of event.getCoalescedEvents?.() ?? []) extend(at(each));
    extend(at(event));
    tell();
  });
  const lift = () => { drawing = false; };
  canvas.addEventListener("pointerup", lift);
  canvas.addEventListener("pointercancel", lift);

  const WAYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  canvas.addEventListener("keydown", (event) => {
    const way = WAYS[event.key];
    if (way) {
      const by = event.shiftKey ? 0.12 : 0.04, from = cursor ?? [0.5, 0.5];
      cursor = [round(from[0] + by * way[0]), round(from[1] + by * way[1])];
      if (penDown) { extend(cursor); changed(); }
    } else if (event.key === " ") {
      cursor ??= [0.5, 0.5];
      penDown = !penDown;
      if (penDown) { begin(cursor); changed(); }
    } else if (event.key === "Backspace") undo();
    else if (event.key === "Delete") clear();
    else return;
    event.preventDefault();
    event.stopPropagation();
    paint();
  });
  canvas.addEventListener("focus", paint);
  canvas.addEventListener("blur", () => { penDown = false; paint(); });

  return {
    canvas, undo, clear,
    strokes: () => strokes,
    // A ready-made glyph, 784 bytes of ink, shown until something is drawn; a new one wipes the pad.
    show(bytes) {
      strokes = null;
      preset = document.createElement("canvas");
      preset.width = preset.height = 28;
      const pixels = new ImageData(28, 28);
      bytes.forEach((ink, i) => pixels.data.set([255 - ink, 255 - ink, 255 - ink, 255], 4 * i));
      preset.getContext("2d").putImageData(pixels, 0, 0);
      paint();
    },
    // Strokes kept by the kernel, for a view that opens later.
    restore(kept) { strokes = kept; paint(); },
    paint,
  };
}

function inkButtons(pad, name) {
  const row = document.createElement("div");
  row.className = "kshot-ink-buttons";
  for (const [words, act] of [["undo", pad.undo], ["clear", pad.clear]]) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = words;
    button.setAttribute("aria-label", `${words} ${name}`);
    button.addEventListener("click", act);
    row.append(button);
  }
  return row;
}

// At most one message a frame; ipywidgets itself keeps only the newest while the kernel is busy.
function eachFrame(send) {
  let due = false;
  return () => {
    if (due) return;
    due = true;
    requestAnimationFrame(() => {
      due = false;
      try { send(); } catch { /* the kernel is gone; the ink stays */ }
    });
  };
}

const bytesOf = (view) => new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
