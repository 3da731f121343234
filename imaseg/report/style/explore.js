"use strict";
(() => {
  const explorer = document.querySelector(".explorer");
  const find = (what) => explorer.querySelector(what);
  const { outlines: tints, ...colours } = JSON.parse(explorer.dataset.colours);
  const ranges = [...explorer.querySelectorAll("[data-axis]")];
  const names = ["sagittal", "coronal", "axial"];
  /* Of each plane the axes across and up, the one through it, and the sides: left, right, top, bottom. */
  const planes = [[0, 1, 2, "LRAP"], [0, 2, 1, "LRSI"], [1, 2, 0, "PASI"]];
  const order = ["image", "change", "label", "clean", "attacked", "margin"];
  const layers = { clean: ["image"], attacked: ["sum"], change: ["change"], margin: ["image", "margin"] };
  const solid = { clean: ["clean"], attacked: ["attacked"], change: ["change"], margin: ["margin"] };
  const predictions = { clean: "clean", attacked: "attacked", margin: "clean" };
  const header = 352;
  const panes = {};
  let shown;
  let place;
  let busy = Promise.resolve();

  const read = async (number) => {
    const { id, dataset } = document.getElementById(`volumes-${number}`);
    const file = await unpack(id);
    const shape = [42, 44, 46].map((at) => new DataView(file).getInt16(at, true));
    const size = shape[0] * shape[1] * shape[2];
    const frames = Object.fromEntries(order.map((name, k) => [name, new Uint8Array(file).subarray(header + k * size, header + (k + 1) * size)]));
    const look = JSON.parse(dataset.look);
    frames.sum = Uint8ClampedArray.from(frames.image, (grey, k) => grey + look.gain * (frames.change[k] - 128));
    /* A frame as a file of its own: three dimensions instead of four. */
    const alone = (name) => {
      const one = new Uint8Array(header + size);
      one.set(new Uint8Array(file, 0, header));
      one.set(name === "clean" || name === "attacked" ? frames[name].map((value) => value && 40 * ((value - 1) % tints.length + 1)) : frames[name], header);
      new DataView(one.buffer).setInt16(40, 3, true);
      new DataView(one.buffer).setInt16(48, 1, true);
      return one.buffer;
    };
    return { shape, look, frames, alone, said: dataset.said };
  };

  const slice = (axis) => shown.look.axes[axis].first + shown.look.axes[axis].by * place[axis];

  const write = (pen, text, x, y, align, base) => {
    Object.assign(pen, { textAlign: align, textBaseline: base, lineWidth: 3 * devicePixelRatio, strokeStyle: "#000", fillStyle: "#fff" });
    pen.font = `600 ${12 * devicePixelRatio}px system-ui, sans-serif`;
    pen.strokeText(text, x, y);
    pen.fillText(text, x, y);
  };

  const stroke = (pen, name, plane, point, dashed) => {
    const [across, up, through] = plane;
    const steps = [1, shown.shape[0], shown.shape[0] * shown.shape[1]];
    const base = place[through] * steps[through];
    const at = (x, y) => shown.frames[name][base + x * steps[across] + y * steps[up]];
    const values = new Set();
    for (let y = 0; y < shown.shape[up]; y += 1) for (let x = 0; x < shown.shape[across]; x += 1) values.add(at(x, y));
    values.delete(0);
    for (const value of values) {
      const tint = tints[(value - 1) % tints.length];
      for (const line of outlinesOf((x, y) => at(x, y) === value, shown.shape[across], shown.shape[up])) {
        const path = new Path2D();
        line.forEach((spot, k) => path[k ? "lineTo" : "moveTo"](...point(spot)));
        path.closePath();
        pen.setLineDash(dashed ? [6 * devicePixelRatio, 5 * devicePixelRatio] : []);
        Object.assign(pen, { strokeStyle: "#000", lineWidth: 3.5 * devicePixelRatio });
        pen.stroke(path);
        Object.assign(pen, { strokeStyle: dashed ? `color-mix(in srgb, ${tint}, #fff)` : tint, lineWidth: 2 * devicePixelRatio });
        pen.stroke(path);
      }
    }
  };

  const trace = ({ kind, viewer, canvas, lines }) => {
    Object.assign(lines, { width: canvas.width, height: canvas.height });
    const pen = lines.getContext("2d");
    for (const { axCorSag, leftTopWidthHeight: [left, top, width, height], leftTopMM, fovMM } of viewer.screenSlices) {
      if (axCorSag > 2) continue;
      const plane = planes[axCorSag];
      const [across, up, through, sides] = plane;
      const point = ([x, y]) => {
        const share = place.map((at, axis) => (at + 0.5) / shown.shape[axis]);
        share[across] = (x + 0.5) / shown.shape[across];
        share[up] = (y + 0.5) / shown.shape[up];
        const mm = viewer.frac2mm(share);
        return [left + ((mm[across] - leftTopMM[0]) / fovMM[0]) * width, top + (1 - (mm[up] - leftTopMM[1]) / fovMM[1]) * height];
      };
      if (find("[data-choose=outlines]").checked) {
        if (predictions[kind]) stroke(pen, predictions[kind], plane, point, false);
        stroke(pen, "label", plane, point, true);
      }
      pen.setLineDash([]);
      const here = point([place[across], place[up]]);
      Object.assign(pen, { strokeStyle: "rgb(255 217 51 / 0.6)", lineWidth: devicePixelRatio });
      pen.strokeRect(here[0], top, 0, height);
      pen.strokeRect(left, here[1], width, 0);
      const gap = 4 * devicePixelRatio;
      write(pen, sides[0], left + gap, top + height / 2, "left", "middle");
      write(pen, sides[1], left + width - gap, top + height / 2, "right", "middle");
      write(pen, sides[2], left + width / 2, top + gap, "center", "top");
      write(pen, sides[3], left + width / 2, top + height - gap, "center", "bottom");
      write(pen, `${shown.look.axes[through].name} = ${slice(through)}`, left + gap, top + gap, "left", "top");
    }
  };

  const move = (to) => {
    place = to;
    ranges.forEach((range, axis) => {
      range.value = place[axis];
      range.setAttribute("aria-valuetext", `${names[axis]} slice ${shown.look.axes[axis].name} = ${slice(axis)}`);
    });
    find("output").textContent = names.map((name, axis) => `${name} slice ${shown.look.axes[axis].name} = ${slice(axis)}`).join(", ");
    for (const { viewer } of Object.values(panes)) {
      viewer.scene.crosshairPos = place.map((at, axis) => (at + 0.5) / shown.shape[axis]);
      viewer.drawScene();
    }
  };

  const pane = async (kind) => {
    const figure = document.createElement("figure");
    figure.innerHTML = '<div class="pane"><canvas></canvas><canvas class="lines" aria-hidden="true"></canvas></div><figcaption></figcaption>';
    find(".panes").append(figure);
    const [canvas, lines] = figure.querySelectorAll("canvas");
    const viewer = new niivue.Niivue({
      logLevel: "error", loadingText: "", dragAndDropEnabled: false, dragMode: 0, scrollRequiresFocus: true, isOrientationTextVisible: false,
      multiplanarShowRender: 0, multiplanarPadPixels: 6, crosshairWidth: 0, backColor: [0, 0, 0, 1],
      isNearestInterpolation: kind === "change" || kind === "margin", interactive: matchMedia("(pointer: fine)").matches,
    });
    for (const [name, map] of Object.entries(colours)) viewer.addColormap(name, map);
    await viewer.attachToCanvas(canvas);
    Object.assign(canvas, { tabIndex: -1, role: "img" });
    const made = { kind, figure, canvas, lines, viewer };
    const draw = viewer.drawScene.bind(viewer);
    viewer.drawScene = (...rest) => {
      const done = draw(...rest);
      if (viewer.volumes.length) trace(made);
      return done;
    };
    viewer.onLocationChange = () => {
      const to = Array.from(viewer.scene.crosshairPos, (share, axis) => Math.min(shown.shape[axis] - 1, Math.floor(share * shown.shape[axis])));
      if (to.some((at, axis) => at !== place[axis])) move(to);
    };
    return made;
  };

  const middle = () => {
    const sums = [0, 0, 0];
    let count = 0;
    shown.frames.label.forEach((value, k) => {
      if (!value) return;
      const [x, y] = [k % shown.shape[0], Math.floor(k / shown.shape[0]) % shown.shape[1]];
      [x, y, Math.floor(k / shown.shape[0] / shown.shape[1])].forEach((at, axis) => { sums[axis] += at; });
      count += 1;
    });
    return sums.map((sum, axis) => Math.floor(count ? sum / count : shown.shape[axis] / 2));
  };

  const show = async () => {
    const number = find("[data-choose=case]").value;
    if (number !== shown?.number) {
      shown = { number, ...await read(number) };
      place = middle();
    }
    ranges.forEach((range, axis) => { range.max = shown.shape[axis] - 1; });
    find(".facts").textContent = shown.said;
    for (const { figure } of Object.values(panes)) figure.hidden = true;
    for (const { kind, caption } of shown.look.panes) {
      const { figure, canvas, viewer } = panes[kind] ??= await pane(kind);
      figure.hidden = false;
      figure.querySelector("figcaption").textContent = caption;
      canvas.setAttribute("aria-label", `${caption}, in planes that the sliders move`);
      for (const old of [...viewer.volumes]) viewer.removeVolume(old);
      for (const name of (find("[data-choose=planes]").value === "4" ? solid : layers)[kind]) {
        const ends = name === "change" ? [128 - shown.look.end, 128 + shown.look.end] : [0, 255];
        const map = name === "clean" || name === "attacked" ? "classes" : colours[name] ? name : "gray";
        viewer.addVolume(await niivue.NVImage.new(shown.alone(name), `${name}.nii`, map, name === "margin" ? 0.8 : 1, null, ...ends));
      }
      viewer.setSliceType(Number(find("[data-choose=planes]").value));
    }
    find(".panes").dataset.planes = find("[data-choose=planes]").value;
    move(place);
  };

  const start = async () => {
    await load("niivue");
    await show();
    ranges.forEach((range, axis) => range.addEventListener("input", () => move(place.map((at, k) => (k === axis ? Number(range.value) : at)))));
    for (const what of ["case", "planes"]) find(`[data-choose=${what}]`).addEventListener("change", () => { busy = busy.then(show); });
    find("[data-choose=outlines]").addEventListener("change", () => move(place));
  };
  /* Without WebGL2 the pictures below say the same; with it the viewer is made once it comes near the screen. */
  if (!document.createElement("canvas").getContext("webgl2") || !window.DecompressionStream) return;
  explorer.hidden = false;
  new IntersectionObserver(([entry], observer) => {
    if (!entry.isIntersecting) return;
    observer.disconnect();
    start().catch(() => { explorer.hidden = true; });
  }, { rootMargin: "800px" }).observe(explorer);
})();
