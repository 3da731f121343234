"use strict";
const unpack = async (id) => {
  const bytes = Uint8Array.from(atob(document.getElementById(id).textContent), (letter) => letter.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
};
const load = async (id) => {
  const script = document.createElement("script");
  script.textContent = new TextDecoder().decode(await unpack(id));
  document.head.append(script);
};
