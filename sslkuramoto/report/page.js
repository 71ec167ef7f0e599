// Headings sort their table; fields carry their number in data-sort. One that is empty or a dash goes last.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.querySelectorAll("thead tr:last-child th")];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    // Footnote links stay outside: a link inside a button is neither.
    button.append(...[...head.childNodes].filter((node) => node.nodeName !== "SUP"));
    head.prepend(button);
    button.addEventListener("click", () => {
      const text = ({ cells }) => {
        const key = cells[column].dataset.sort ?? cells[column].textContent.trim();
        return key === "-" ? "" : key;
      };
      const before = head.getAttribute("aria-sort");
      const down = before ? before === "ascending" : "down" in head.dataset;
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const lines = [...table.tBodies[0].rows];
      const numbers = lines.map(text).every((value) => !isNaN(value));  // an empty one counts as a number
      const rows = lines.sort((p, q) => {
        const [a, b] = [text(p), text(q)];
        if (a === "" || b === "") return (a === "") - (b === "");
        const order = numbers ? a - b : a.localeCompare(b, undefined, { numeric: true });
        return down ? -order : order;
      });
      table.tBodies[0].append(...rows);
    });
  });
}

// A field above a table keeps the lines that contain every word typed into it.
for (const table of document.querySelectorAll("table.filtered")) {
  const label = document.createElement("label");
  const field = document.createElement("input");
  const told = document.createElement("output");
  field.type = "search";
  field.autocomplete = "off";  // else a browser that comes back restores the words, and not what they hide
  label.append("Filter: ", field);
  table.closest(".scroll").before(label, " ", told);
  field.addEventListener("input", () => {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    const rows = [...table.tBodies[0].rows];
    for (const row of rows) {
      const text = [...row.cells].map((cell) => cell.textContent).join(" ").toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
    }
    told.textContent = words.length ? `${rows.filter((row) => !row.hidden).length} of ${rows.length}` : "";
  });
}

// A footnote may be inside a folded part.
for (const mark of document.querySelectorAll("sup a")) {
  mark.addEventListener("click", () => {
    const fold = document.getElementById(mark.hash.slice(1))?.closest("details");
    if (fold) fold.open = true;
  });
}

// Paper shows what the screen folds away.
let opened = [];
addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("details:not([open])")];
  opened.forEach((item) => { item.open = true; });
});
addEventListener("afterprint", () => { opened.forEach((item) => { item.open = false; }); });
