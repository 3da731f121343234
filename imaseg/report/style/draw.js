"use strict";
const drawn = load("plotly").then(() => {
  const plots = [...document.querySelectorAll("[data-plot]")];
  const options = { displayModeBar: false, responsive: true, scrollZoom: false };
  for (const holder of plots) {
    const { data, layout } = JSON.parse(document.getElementById(holder.dataset.plot).textContent);
    Plotly.newPlot(holder, data, layout, options);
  }
  const paper = 640;
  addEventListener("beforeprint", () => {
    for (const holder of plots) Plotly.relayout(holder, { width: Math.min(paper, holder.clientWidth) });
  });
  addEventListener("afterprint", () => {
    for (const holder of plots) Plotly.relayout(holder, { width: null, autosize: true });
  });
}).catch(() => { document.querySelector(".undrawn").hidden = false; });
