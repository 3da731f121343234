"use strict";
/* Closed outlines of the pixels of a map that are inside, through the middles between pixels; corners do not touch. */
const outlinesOf = (inside, columns, rows) => {
  const at = (x, y) => x >= 0 && y >= 0 && x < columns && y < rows && inside(x, y);
  const next = new Map();
  for (let y = -1; y < rows; y += 1) {
    for (let x = -1; x < columns; x += 1) {
      const corners = [at(x, y), at(x + 1, y), at(x + 1, y + 1), at(x, y + 1)];
      const middles = [[x + 0.5, y], [x + 1, y + 0.5], [x + 0.5, y + 1], [x, y + 0.5]];
      for (let k = 0; k < 4; k += 1) {
        if (corners[k] || !corners[(k + 1) % 4]) continue;
        let last = k + 1;
        while (corners[(last + 1) % 4]) last += 1;
        next.set(middles[k].join(), middles[last % 4]);
      }
    }
  }
  const lines = [];
  while (next.size) {
    const line = [];
    for (let key = next.keys().next().value, to; (to = next.get(key)); key = to.join()) {
      next.delete(key);
      line.push(to);
    }
    lines.push(line);
  }
  return lines;
};
