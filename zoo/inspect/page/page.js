// Theme, contents, and what is folded.
"use strict";
(() => {
  const root = document.documentElement;
  root.classList.add("js");

  // The theme: that of the system until the button chooses another.
  const system = matchMedia("(prefers-color-scheme: dark)");
  const kept = (value) => {
    try { // a browser may refuse to keep anything for files
      if (value) localStorage.setItem("zoo-theme", value);
      return localStorage.getItem("zoo-theme");
    } catch { return null; }
  };
  const button = document.getElementById("theme");
  const isDark = () => (root.dataset.theme || (system.matches ? "dark" : "light")) === "dark";
  const name = () => {
    button.textContent = isDark() ? "light" : "dark";
    button.setAttribute("aria-label", `${button.textContent} colours`);
  };
  const before = kept();
  if (before === "dark" || before === "light") root.dataset.theme = before;
  button.hidden = false;
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    kept(root.dataset.theme);
    name();
  });
  system.addEventListener("change", name);
  name();

  // A link to what is folded opens it.
  const open = () => {
    const id = decodeURIComponent(location.hash.slice(1));
    const target = id && document.getElementById(id);
    for (let at = target; at; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true;
  };
  addEventListener("hashchange", open);
  open();

  // Contents: folded where the screen is narrow; the part in view is marked.
  const contents = document.querySelector("nav details");
  if (contents) {
    const narrow = matchMedia("(max-width: 69.99rem)");
    const fold = () => { contents.open = !narrow.matches; };
    narrow.addEventListener("change", fold);
    fold();
    const links = new Map();
    for (const link of contents.querySelectorAll("a")) {
      links.set(link.hash.slice(1), link);
      link.addEventListener("click", () => { if (narrow.matches) contents.open = false; });
    }
    const mark = () => { // the last that begins in the upper quarter of the screen, or above
      let here;
      for (const id of links.keys()) {
        const target = document.getElementById(id);
        if (target && target.getBoundingClientRect().top <= innerHeight / 4) here = id;
      }
      for (const [id, link] of links) {
        if (id === here) link.setAttribute("aria-current", "true");
        else link.removeAttribute("aria-current");
      }
    };
    let waiting = false;
    addEventListener("scroll", () => {
      if (!waiting) requestAnimationFrame(() => { waiting = false; mark(); });
      waiting = true;
    }, { passive: true });
    mark();
  }

  // On paper all is unfolded.
  const unfolded = [];
  addEventListener("beforeprint", () => {
    for (const part of document.querySelectorAll("details:not([open])")) {
      part.open = true;
      unfolded.push(part);
    }
  });
  addEventListener("afterprint", () => {
    for (const part of unfolded.splice(0)) part.open = false;
  });
})();
