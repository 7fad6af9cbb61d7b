// Plots of plotly, each drawn when it comes near the screen, and all of them before printing.
"use strict";
(async () => {
  const packed = document.getElementById("plotly");
  if (!packed || typeof DecompressionStream === "undefined") return; // the tables say the same
  const bytes = Uint8Array.from(atob(packed.textContent), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const script = document.createElement("script"); // which the policy of the page knows
  script.textContent = await new Response(stream).text();
  document.head.append(script);

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
