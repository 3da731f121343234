"use strict";
(() => {
  for (const viewer of document.querySelectorAll("[data-slides]")) {
    const slides = [...viewer.querySelectorAll("[data-slide]")];
    const range = viewer.querySelector("input");
    const said = viewer.querySelector("output");
    const show = () => {
      slides.forEach((slide, place) => { slide.hidden = place !== Number(range.value); });
      const text = slides[Number(range.value)].dataset.slide;
      said.textContent = text;
      range.setAttribute("aria-valuetext", text);
    };
    range.addEventListener("input", show);
    viewer.querySelector(".control").hidden = false;
    show();
  }
})();
