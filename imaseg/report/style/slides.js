"use strict";
(() => {
  const viewers = [...document.querySelectorAll("[data-slides]")].map((viewer) => {
    const slides = [...viewer.querySelectorAll("[data-slide]")];
    const range = viewer.querySelector("input");
    const said = viewer.querySelector("output");
    const show = () => {
      slides.forEach((slide, place) => { slide.hidden = place !== Number(range.value); });
      const text = slides[Number(range.value)].dataset.slide;
      said.textContent = text;
      range.setAttribute("aria-valuetext", text);
    };
    viewer.querySelector(".control").hidden = false;
    show();
    return { group: viewer.dataset.slides, range, show };
  });
  for (const viewer of viewers) {
    viewer.range.addEventListener("input", () => {
      for (const other of viewers) {
        if (other !== viewer && !(viewer.group && viewer.group === other.group)) continue;
        other.range.value = viewer.range.value;
        other.show();
      }
    });
  }
})();
