// Explained rows: the list chooses, orders and finds them.
"use strict";
(() => {
  for (const rows of document.querySelectorAll(".rows")) {
    const list = rows.querySelector("ol");
    const shown = rows.querySelector(".shown");
    const items = [...list.children];
    const link = (item) => item.querySelector("a");
    const article = (item) => document.getElementById(link(item).hash.slice(1));
    const words = (item) => [...item.querySelectorAll("span, small"),
      ...article(item).querySelectorAll("h4, .name, td.word")].map((part) => part.textContent);
    const texts = new Map(items.map((item) => [item, words(item).join(" ").toLowerCase()]));
    const visible = () => [...list.children].filter((item) => !item.hidden);

    const choose = (item, focus) => {
      for (const other of items) {
        link(other).removeAttribute("aria-current");
        article(other).classList.remove("chosen");
      }
      link(item).setAttribute("aria-current", "true");
      article(item).classList.add("chosen");
      if (focus) link(item).focus();
      // into view of the list, and never of the page
      const [top, bottom] = [item.offsetTop - list.offsetTop, item.offsetTop - list.offsetTop + item.offsetHeight];
      if (top < list.scrollTop) list.scrollTop = top;
      if (bottom > list.scrollTop + list.clientHeight) list.scrollTop = bottom - list.clientHeight;
    };

    list.addEventListener("click", (event) => {
      const item = event.target.closest("li");
      if (!item) return;
      event.preventDefault(); // the page stays where it is
      history.replaceState(null, "", link(item).hash);
      choose(item);
    });
    shown.addEventListener("click", (event) => { // to another track of the session
      const target = event.target.closest(".track-of-session a");
      const item = target && items.find((each) => link(each).hash === target.hash);
      if (item) { event.preventDefault(); choose(item); }
    });
    list.addEventListener("keydown", (event) => {
      const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      const item = event.target.closest("li");
      if (!step || !item) return;
      event.preventDefault();
      const there = visible();
      const next = there[there.indexOf(item) + step];
      if (next) choose(next, true);
    });

    const form = rows.querySelector("form");
    const [search, order, kind] = ["search", "order", "kind"].map((name) => form.querySelector(`#row-${name}`));
    const count = form.querySelector("output");
    const number = (item, key) => Number(item.dataset[key] ?? Infinity);
    form.addEventListener("input", () => {
      const asked = search.value.toLowerCase().split(/\s+/);
      for (const item of items) item.hidden = !asked.every((word) => texts.get(item).includes(word));
      const sign = order.value.startsWith("-") ? -1 : 1;
      const key = order.value.replace("-", "");
      list.append(...[...items].sort((a, b) =>
        sign * (number(a, key) - number(b, key)) || number(a, "order") - number(b, "order")));
      shown.dataset.kind = kind.value;
      const there = visible();
      count.textContent = there.length === items.length ? `${items.length} rows` : `${there.length} of ${items.length} rows`;
      if (there.length && !there.some((item) => link(item).hasAttribute("aria-current"))) choose(there[0]);
    });
    form.addEventListener("submit", (event) => event.preventDefault());
    const asked = () => items.find((item) => link(item).hash === location.hash);
    addEventListener("hashchange", () => { const item = asked(); if (item) choose(item); });
    choose(asked() ?? items[0]);
  }
})();
