// Tables: sorted by their headings, narrowed by the form above them, long ones shown in part.
"use strict";
(() => {
  const FIRST = 15; // rows of a long table
  const all = (what, where) => [...where.querySelectorAll(what)];
  const text = (row, column) => row.cells[column].textContent;
  // "1,234", "+0.5 %", "0.93% .. 1.64%" as numbers; "-" and "" as nothing
  const number = (said) => {
    const found = parseFloat(said.replaceAll(",", "").replace("\u2212", "-"));
    return Number.isNaN(found) ? null : found;
  };

  for (const table of document.querySelectorAll("table")) {
    const body = table.tBodies[0];
    const rows = [...body.rows];
    const state = { rows, kept: () => true, whole: !table.classList.contains("long") };

    const more = document.createElement("button");
    more.type = "button";
    more.className = "more";
    more.addEventListener("click", () => { state.whole = !state.whole; show(); });

    const show = () => {
      const kept = state.rows.filter(state.kept);
      const shown = new Set(state.whole ? kept : kept.slice(0, FIRST));
      for (const row of state.rows) {
        row.classList.toggle("left-out", !shown.has(row));
        body.append(row);
      }
      more.hidden = kept.length <= FIRST;
      more.textContent = state.whole ? `the first ${FIRST}` : `all ${kept.length.toLocaleString("en")}`;
      return kept.length;
    };

    const sort = (column, direction) => {
      const words = rows.some((row) => number(text(row, column)) === null
        && !["", "-"].includes(text(row, column).trim()));
      const sign = direction === "descending" ? -1 : 1;
      const compare = (a, b) => {
        const [x, y] = [text(a, column), text(b, column)];
        if (words) return sign * x.localeCompare(y, "en", { numeric: true });
        const [m, n] = [number(x), number(y)];
        if (m === null || n === null) return (m === null) - (n === null); // nothing comes last
        return sign * (m - n);
      };
      state.rows = direction === "none" ? [...rows] : [...rows].sort(compare);
      show();
    };

    const headings = all("thead th", table);
    headings.forEach((heading, column) => {
      if (rows.length < 2) return;
      const button = document.createElement("button");
      button.type = "button";
      button.append(...heading.childNodes);
      heading.append(button);
      heading.setAttribute("aria-sort", "none");
      button.addEventListener("click", () => {
        const word = heading.classList.contains("word");
        const order = word ? ["none", "ascending", "descending"] : ["none", "descending", "ascending"];
        const next = order[(order.indexOf(heading.getAttribute("aria-sort")) + 1) % 3];
        for (const other of headings) {
          if (other.hasAttribute("aria-sort")) other.setAttribute("aria-sort", "none");
        }
        heading.setAttribute("aria-sort", next);
        sort(column, next);
      });
    });

    // The form above it.
    const form = table.closest("figure").previousElementSibling;
    if (form && form.matches("form.filters")) {
      const said = form.querySelector("output");
      const tests = {
        equal: (input) => (row) => !input.value || text(row, input.dataset.column) === input.value,
        text: (input) => (row) =>
          text(row, input.dataset.column).toLowerCase().includes(input.value.toLowerCase()),
        least: (input) => (row) =>
          !input.value || (number(text(row, input.dataset.column)) ?? 0) >= Number(input.value),
        far: (input) => (row) => !input.checked
          || Math.abs(number(text(row, input.dataset.column)) ?? 0) >= Number(input.dataset.limit),
      };
      const inputs = all("[data-filter]", form);
      const narrow = () => {
        const asked = inputs.map((input) => tests[input.dataset.filter](input));
        state.kept = (row) => asked.every((test) => test(row));
        const count = show();
        said.textContent = `${count.toLocaleString("en")} of ${rows.length.toLocaleString("en")} ${form.dataset.of}`;
      };
      form.addEventListener("input", narrow);
      form.addEventListener("submit", (event) => event.preventDefault());
    }
    if (table.classList.contains("long")) table.closest("figure").append(more);
    show();
    addEventListener("beforeprint", () => { state.whole = true; show(); });
  }
})();
