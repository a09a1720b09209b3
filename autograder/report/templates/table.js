(() => {
  const table = document.getElementById("table"), body = table.tBodies[0], rows = [...body.rows];
  const key = (row, column, kind) => {
    const cell = row.cells[column], text = cell.dataset.value ?? cell.textContent.trim();
    return kind === "number" ? (Number.isNaN(parseFloat(text)) ? -1 : parseFloat(text)) : text.toLowerCase();
  };
  const order = (a, b) => (typeof a === "number" ? a - b : a.localeCompare(b, undefined, { numeric: true }));
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const keyed = rows.map((row) => [key(row, column, head.dataset.sort), row]);
      keyed.sort((a, b) => (down ? order(b[0], a[0]) : order(a[0], b[0])));
      body.append(...keyed.map(([, row]) => row));
    });
  });
  const filter = document.getElementById("filter"), shown = document.getElementById("shown");
  const show = () => {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const row of rows) row.hidden = !words.every((word) => row.textContent.toLowerCase().includes(word));
    const left = rows.filter((row) => !row.hidden).length;
    shown.textContent = words.length ? `${left} of ${rows.length}` : "";
  };
  filter.addEventListener("input", show);
  filter.closest("[hidden]").hidden = false;
  addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((part) => (part.open = true)));
})();
