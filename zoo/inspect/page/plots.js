// Plots of plotly, each drawn when it comes near the screen, and all of them before printing.
"use strict";
(() => {
  if (typeof Plotly === "undefined") return;
  const waiting = new Map();
  const draw = (target) => {
    const data = waiting.get(target);
    if (!data) return;
    waiting.delete(target);
    const plot = JSON.parse(data.textContent);
    Plotly.newPlot(target, plot.data, plot.layout, { responsive: true, displayModeBar: false });
  };
  const watcher = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting) { watcher.unobserve(target); draw(target); }
    }
  }, { rootMargin: "600px" });
  for (const data of document.querySelectorAll("script.plot-data")) {
    const target = document.getElementById(data.dataset.for);
    waiting.set(target, data);
    watcher.observe(target);
  }
  addEventListener("beforeprint", () => [...waiting.keys()].forEach(draw));
})();
