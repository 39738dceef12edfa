// What is chosen; all other parts of the page read it.

const TIMES = manifest.times.length;
const element = (id) => document.getElementById(id);
const source = new Source();
// Whether a processor draws, so that fewer points have to do.
const slow = !document.createElement("canvas")
  .getContext("webgl2", { failIfMajorPerformanceCaveat: true });

const state = {
  time: 0, playing: false, cloud: "frame", tracks: "off", cameras: "current", background: "none",
  // Of which frame tracks are, and of which part of its picture: left, top, right, bottom.
  from: 0, box: [0, 0, 1, 1],
  surfaces: true, size: 1, least: 3, trail: Math.min(12, TIMES - 1), tint: false, follow: false, light: false,
};
let dirty = true;
