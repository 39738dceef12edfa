// What is chosen; all other parts of the page read it.

const TIMES = manifest.times.length;
/** An element that the page has, of whatever kind. @param {string} id @returns {any} */
const element = (id) => document.getElementById(id);
/** @type {PageSource} */
const source = new Source();
// Whether a processor draws, so that fewer points have to do and edges stay unsmoothed.
const slow = drawnInSoftware();

/** @type {Record<string, any>} */
const state = {
  time: 0, playing: false, cloud: "frame", tracks: "off", cameras: "current", background: "none",
  // Of which frame tracks are, and of which part of its picture: left, top, right, bottom.
  from: 0, box: [0, 0, 1, 1],
  surfaces: true, size: 1, least: 3, trail: Math.min(12, TIMES - 1), tint: false, follow: manifest.follow, light: false,
};
let dirty = true;

function drawnInSoftware() {
  const gl = document.createElement("canvas").getContext("webgl2", { antialias: false });
  const names = gl?.getExtension("WEBGL_debug_renderer_info");
  const renderer = gl && names ? gl.getParameter(names.UNMASKED_RENDERER_WEBGL) : "";
  gl?.getExtension("WEBGL_lose_context")?.loseContext();
  return /swiftshader|llvmpipe|softpipe|software|basic render/i.test(renderer);
}
