// The page: its state, controls, view and clock.

const DARK = [24, 24, 30], LIGHT = [246, 246, 248];
const ACCENT = [240, 136, 62, 255], QUIET = [150, 150, 165, 150];
const TIMES = manifest.times.length;
// Pictures and edges of cameras are drawn at this share of the median distance.
const CAMERA_SIZE = 0.07;
// The first view stands aside and a little farther back than the first camera, so that depth shows.
const START = { yaw: 0.17, pitch: -0.1, back: 1.42 };
const element = (id) => document.getElementById(id);

const state = {
  time: 0, playing: false, cloud: "frame", tracks: "off", cameras: "current",
  surfaces: true, size: 1, least: 3, trail: Math.min(12, TIMES - 1), tint: false, follow: false, light: false,
};
const view = { yaw: 0, pitch: 0, distance: 1, pivot: [0, 0, 0] };
const loaded = { frames: new Array(TIMES).fill(null), fused: null, tracks: {} };
const waiting = new Map();
let drawer = null, cameraLines = null, dirty = true, clock = 0, lastTick = 0;

// --- matrices: arrays of 16, column by column

function multiplied(a, b) {
  const product = new Array(16).fill(0);
  for (let column = 0; column < 4; column++) {
    for (let row = 0; row < 4; row++) {
      for (let k = 0; k < 4; k++) product[4 * column + row] += a[4 * k + row] * b[4 * column + k];
    }
  }
  return product;
}

function inverseRigid(m) {
  const out = [m[0], m[4], m[8], 0, m[1], m[5], m[9], 0, m[2], m[6], m[10], 0, 0, 0, 0, 1];
  for (let row = 0; row < 3; row++) {
    out[12 + row] = -(out[row] * m[12] + out[4 + row] * m[13] + out[8 + row] * m[14]);
  }
  return out;
}

function moved(m, [x, y, z]) {
  return [0, 1, 2].map((row) => m[row] * x + m[4 + row] * y + m[8 + row] * z + m[12 + row]);
}

/** The pose of the eye in the frame of reference: turned about the pivot, at a distance of it. */
function orbitPose() {
  const [sy, cy, sp, cp] = [Math.sin(view.yaw), Math.cos(view.yaw), Math.sin(view.pitch),
    Math.cos(view.pitch)];
  const right = [cy, 0, -sy], down = [sy * sp, cp, cy * sp], ahead = [sy * cp, -sp, cy * cp];
  const eye = view.pivot.map((value, axis) => value - view.distance * ahead[axis]);
  return [...right, 0, ...down, 0, ...ahead, 0, ...eye, 1];
}

/** The camera that the view is relative to: the current one if it is followed, else the world. */
function referencePose() {
  return manifest.cameras[state.follow ? state.time : 0].pose;
}

/** What a picture of this size shows: matrices, and pixels per length at a distance of 1. */
function lookNow(width, height) {
  const corners = manifest.cameras[state.follow ? state.time : 0].corners;
  const tallest = Math.max(...corners.filter((_, i) => i % 2).map(Math.abs));
  const widest = Math.max(...corners.filter((_, i) => i % 2 === 0).map(Math.abs));
  const tangent = Math.max(tallest, widest * height / width);
  const near = 0.005 * manifest.medianDistance, far = 500 * manifest.medianDistance;
  const projection = [height / width / tangent, 0, 0, 0, 0, -1 / tangent, 0, 0,
    0, 0, (far + near) / (far - near), 1, 0, 0, -2 * far * near / (far - near), 0];
  const pose = multiplied(referencePose(), orbitPose());
  return {
    clipFromWorld: multiplied(projection, inverseRigid(pose)), tangent,
    pixels: state.size * height / 2 / tangent,
    dense: window.devicePixelRatio || 1,
    least: state.least ? Math.max(1, 1 + 254 * state.least / 100) : 1, tint: state.tint,
  };
}

function resetView() {
  const distance = manifest.medianDistance;
  view.pivot = [0, 0, distance];
  Object.assign(view, state.follow ? { yaw: 0, pitch: 0, distance }
    : { yaw: START.yaw, pitch: START.pitch, distance: START.back * distance });
  dirty = true;
}

// --- drawing

function draw() {
  const gl = drawer.gl, canvas = gl.canvas;
  const dense = Math.min(window.devicePixelRatio || 1, 2);
  const width = Math.max(1, Math.round(canvas.clientWidth * dense));
  const height = Math.max(1, Math.round(canvas.clientHeight * dense));
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const look = { ...lookNow(width, height), dense };
  drawer.clear(state.light ? LIGHT : DARK);
  const frame = loaded.frames[state.time];
  if (state.cloud === "frame" && frame) {
    const { footprint } = manifest.clouds[state.time];
      // Points finer than a coarse map, with colours of the picture, which is finer too.
    const finer = Math.max(1, Math.min(4, Math.ceil(320 / Math.max(...manifest.grid))));
    drawer.drawGrid(look, frame, manifest.cameras[state.time], footprint,
      { surfaces: state.surfaces, finer });
  } else if (state.cloud === "fused" && loaded.fused) {
    const { still, movers } = manifest.fused, { places, paths, paint } = loaded.fused;
    drawer.drawPoints(look, places, paint, 0, still);
    drawer.drawPoints(look, paths[state.time], paint, still, movers);
  }
  drawCameras(look);
  drawTracks(look);
  dirty = false;
}

function drawTracks(look) {
  const tracks = loaded.tracks[state.tracks];
  if (!tracks || !tracks.count) return;
  const { points, tones, count } = tracks, first = Math.max(0, state.time - state.trail);
  const steps = state.time - first;
  const lines = { starts: points, ends: points, tones };
  const { gl } = drawer;
  gl.depthMask(false);
  // What is behind or within things shines through faintly.
  for (const [test, strength] of [[gl.ALWAYS, 0.3], [gl.LESS, 1]]) {
    gl.depthFunc(test);
    drawer.drawLines({ ...look, strength }, { ...lines, startByte: 12 * count * first,
      endByte: 12 * count * (first + 1), toneByte: 4 * count * first }, steps * count, 2, count, steps);
    drawer.drawLines({ ...look, strength }, { ...lines, startByte: 12 * count * state.time,
      endByte: 12 * count * state.time, toneByte: 4 * count * state.time }, count, 4.5);
  }
  gl.depthMask(true);
}

/** Edges of all cameras, 8 each, and the way between them. */
function makeCameraLines() {
  const ends = [], tones = [];
  const reach = CAMERA_SIZE * manifest.medianDistance;
  for (const { pose, corners } of manifest.cameras) {
    const eye = pose.slice(12, 15);
    const outer = [0, 1, 2, 3].map((i) => moved(pose,
      [reach * corners[2 * i], reach * corners[2 * i + 1], reach]));
    for (let i = 0; i < 4; i++) ends.push(...eye, ...outer[i], ...outer[i], ...outer[(i + 1) % 4]);
  }
  for (let i = 1; i < TIMES; i++) {
    ends.push(...manifest.cameras[i - 1].pose.slice(12, 15), ...manifest.cameras[i].pose.slice(12, 15));
  }
  const count = ends.length / 6;
  for (let i = 0; i < count; i++) tones.push(...QUIET);
  const lines = drawer.buffer(new Float32Array(ends));
  return {
    lines: { starts: lines, ends: lines, stride: 24, endByte: 12 }, count,
    quiet: drawer.buffer(new Uint8Array(tones)),
    bright: drawer.buffer(new Uint8Array(new Array(8).fill(ACCENT).flat())),
  };
}

function drawCameras(look) {
  // Who looks through a camera would see nothing but the pictures of others.
  if (state.cameras === "off" || state.follow) return;
  const all = state.cameras === "all", reach = CAMERA_SIZE * manifest.medianDistance;
  const shown = (time) => all || time === state.time;
  for (let time = 0; time < TIMES; time++) {
    const frame = loaded.frames[time], { pose, shownCorners, shownShare } = manifest.cameras[time];
    if (!shown(time) || !frame) continue;
    const places = [0, 1, 2, 3].map((i) => moved(pose,
      [reach * shownCorners[2 * i], reach * shownCorners[2 * i + 1], reach]));
    drawer.drawPicture(look, frame.picture, places.flat(), shownShare);
  }
  const { lines, count, quiet, bright } = cameraLines;
  if (all) drawer.drawLines(look, { ...lines, tones: quiet }, count, 1.2);
  const startByte = 8 * 24 * state.time;
  drawer.drawLines(look, { ...lines, startByte, endByte: startByte + 12, tones: bright }, 8, 2);
}

// --- loading

/** Unpack a frame once. @param {number} time @returns {Promise<void>} */
function loadFrame(time) {
  if (!waiting.has(time)) {
    waiting.set(time, Promise.all([ownCloud(time), picture(time)]).then(([points, bitmap]) => {
      const [rows, columns] = manifest.grid;
      loaded.frames[time] = { grid: drawer.gridTexture(columns, rows, points),
        picture: drawer.pictureTexture(bitmap) };
      bitmap.close();
      dirty = true;
    }));
  }
  return waiting.get(time);
}

async function loadFused() {
  const { still, paths, paint } = await fusedCloud();
  loaded.fused = { places: drawer.buffer(still), paint: drawer.buffer(paint),
    paths: paths.map((path) => drawer.buffer(path)) };
  dirty = true;
}

async function loadTracks() {
  const { points, colors, motion, visible } = await trackSet();
  const every = [...motion.keys()];
  for (const [name, chosen] of [["all", every], ["moving", every.filter((i) => motion[i] > 127)]]) {
    const places = new Float32Array(3 * TIMES * chosen.length);
    const tones = new Uint8Array(4 * TIMES * chosen.length);
    for (let time = 0, entry = 0; time < TIMES; time++) {
      for (const track of chosen) {
        const from = time * every.length + track;
        places.set(points.subarray(3 * from, 3 * from + 3), 3 * entry);
        tones.set(colors.subarray(3 * track, 3 * track + 3), 4 * entry);
        tones[4 * entry++ + 3] = 90 + 165 * visible[from] / 255;
      }
    }
    loaded.tracks[name] = { points: drawer.buffer(places), tones: drawer.buffer(tones),
      count: chosen.length };
  }
  dirty = true;
}

async function loadAll() {
  await loadFrame(0);
  await loadTracks();
  await loadFused();
  for (let time = 0; time < TIMES; time++) {
    await loadFrame(time);
    element("loading").firstElementChild.style.width = `${100 * (time + 1) / TIMES}%`;
  }
  element("loading").style.opacity = 0;
}

// --- the clock

function setTime(time) {
  state.time = Math.max(0, Math.min(TIMES - 1, time));
  loadFrame(state.time).catch(fail);
  show();
}

function setPlaying(playing) {
  state.playing = playing && TIMES > 1;
  if (state.playing && state.time === TIMES - 1) state.time = 0;
  clock = manifest.beginsS[state.time];
  show();
}

function tick(now) {
  const step = Math.min(0.25, (now - lastTick) / 1000);
  lastTick = now;
  if (state.playing && loaded.frames[state.time]) {
    clock = (clock + step) % manifest.beginsS[TIMES];
    const time = manifest.beginsS.findLastIndex((begin) => begin <= clock);
    if (time !== state.time) setTime(time);
  }
  if (dirty) draw();
  requestAnimationFrame(tick);
}

// --- controls

/** Bring all controls in line with the state. */
function show() {
  const seconds = manifest.beginsS[state.time].toFixed(2);
  element("time").value = state.time;
  element("time-value").textContent = `${seconds} s · ${state.time + 1} / ${TIMES}`;
  element("play").classList.toggle("playing", state.playing);
  element("size-value").textContent = `${state.size.toFixed(2)} ×`;
  element("least-value").textContent = `${state.least} %`;
  element("trail-value").textContent = state.trail === 1 ? "1 frame" : `${state.trail} frames`;
  element("count").textContent = state.cloud === "frame"
    ? `${manifest.clouds[state.time].count.toLocaleString("en")} pixels of this frame, at its own time`
    : `${(manifest.fused.still + manifest.fused.movers).toLocaleString("en")} points of up to 16 frames, `
      + "where they are at this time";
  for (const button of document.querySelectorAll("[data-set]")) {
    button.setAttribute("aria-pressed", state[button.dataset.set] === button.dataset.value);
  }
  for (const name of ["surfaces", "tint", "follow", "light"]) element(name).checked = state[name];
  document.body.classList.toggle("light", state.light);
  dirty = true;
}

function change(name, value) {
  state[name] = value;
  if (name === "follow") resetView();
  show();
}

function screenshot() {
  draw();
  drawer.gl.canvas.toBlob((blob) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = `${manifest.name}-${String(manifest.times[state.time]).padStart(4, "0")}.png`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }, "image/png");
}

function connectControls() {
  const range = (id, use) => element(id).addEventListener("input", (event) => {
    use(Number(event.target.value));
    show();
  });
  range("time", (value) => { setPlaying(false); setTime(value); });
  range("size", (value) => { state.size = 4 ** value; });
  range("least", (value) => { state.least = value; });
  range("trail", (value) => { state.trail = value; });
  for (const name of ["surfaces", "tint", "follow", "light"]) {
    element(name).addEventListener("change", (event) => change(name, event.target.checked));
  }
  for (const button of document.querySelectorAll("[data-set]")) {
    button.addEventListener("click", () => change(button.dataset.set, button.dataset.value));
  }
  element("play").addEventListener("click", () => setPlaying(!state.playing));
  element("reset").addEventListener("click", resetView);
  element("screenshot").addEventListener("click", screenshot);
  element("panel-toggle").addEventListener("click", () => document.body.classList.toggle("closed"));
  // A control that was clicked lets go of the keyboard, so that space plays.
  document.addEventListener("pointerup", () => document.activeElement?.blur());
  document.addEventListener("keydown", pressKey);
}

function pressKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const onControl = event.target.closest?.("button, input:not([type=range]), summary");
  const actions = {
    " ": () => setPlaying(!state.playing),
    ArrowLeft: () => { setPlaying(false); setTime(state.time - 1); },
    ArrowRight: () => { setPlaying(false); setTime(state.time + 1); },
    f: () => change("cloud", state.cloud === "frame" ? "fused" : "frame"),
    s: () => change("surfaces", !state.surfaces),
    t: () => change("tint", !state.tint), c: () => change("follow", !state.follow),
    b: () => change("light", !state.light), r: resetView,
  };
  const action = actions[event.key] ?? actions[event.key.toLowerCase()];
  if (!action || (event.key === " " && onControl)) return;
  if (event.key.startsWith("Arrow") && event.target.type === "range") return;
  event.preventDefault();
  action();
}

// --- the view by mouse and fingers

function connectView(canvas) {
  const fingers = new Map();
  const turn = (dx, dy) => {
    view.yaw += 0.005 * dx;
    view.pitch = Math.max(-1.55, Math.min(1.55, view.pitch - 0.005 * dy));
  };
  const pan = (dx, dy) => {
    const pose = orbitPose(), { tangent } = lookNow(canvas.clientWidth, canvas.clientHeight);
    const unit = 2 * tangent * view.distance / canvas.clientHeight;
    view.pivot = view.pivot.map((value, axis) => value - unit * (dx * pose[axis] + dy * pose[4 + axis]));
  };
  const zoom = (factor) => {
    const scale = manifest.medianDistance;
    view.distance = Math.max(0.02 * scale, Math.min(30 * scale, view.distance * factor));
  };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, [event.clientX, event.clientY]);
    canvas.classList.add("dragging");
  });
  canvas.addEventListener("pointermove", (event) => {
    const before = fingers.get(event.pointerId);
    if (!before) return;
    const now = [event.clientX, event.clientY], dx = now[0] - before[0], dy = now[1] - before[1];
    if (fingers.size === 2) {
      const other = [...fingers].find(([id]) => id !== event.pointerId)[1];
      const apart = (place) => Math.hypot(place[0] - other[0], place[1] - other[1]) + 1;
      zoom(apart(before) / apart(now));
      pan(dx / 2, dy / 2);
    } else if (event.buttons & 2 || event.shiftKey) pan(dx, dy);
    else turn(dx, dy);
    fingers.set(event.pointerId, now);
    dirty = true;
  });
  for (const kind of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(kind, (event) => {
      fingers.delete(event.pointerId);
      if (!fingers.size) canvas.classList.remove("dragging");
    });
  }
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    const lines = event.deltaMode === 1 ? 30 : 1;
    zoom(Math.exp(Math.max(-0.3, Math.min(0.3, 0.0015 * lines * event.deltaY))));
    dirty = true;
  }, { passive: false });
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  new ResizeObserver(() => { dirty = true; }).observe(canvas);
}

// --- the start

function describe() {
  const { name, model, version, sourceFrames, box } = manifest;
  element("name").textContent = name;
  element("summary").textContent = `${TIMES} frame${TIMES === 1 ? "" : "s"} · ${model}`;
  element("hints").textContent = window.matchMedia("(pointer: coarse)").matches
    ? "Drag to turn · two fingers to move and zoom"
    : "Drag to turn · right button or Shift to move · wheel to zoom · space plays · ← → step · "
      + "F freezes time · R resets";
  const round = (values) => values.map((value) => value.toPrecision(3)).join(", ");
  const about = {
    "Frames of the source": TIMES > 1 ? `${sourceFrames[0]} to ${sourceFrames[TIMES - 1]}`
      : `${sourceFrames[0]}`,
    "Places": "x right, y down, z forward from the first camera, in scene units (not metric unless "
      + "said)",
    "Exactness": `stored in 16 bits within a box of ${round(box.size)}: along each axis at most `
      + `${round(box.error)} from where they were computed. Points farther than 20 median distances `
      + "are left out.",
    "Each frame": "surfaces lie between neighbouring pixels of about equal depth; points on edges "
      + "are the least sure and hidden first",
    "Freeze time": "what stands still is stored once, what moves with its path over all times",
    "Motion tint": "glowing: likely to move during the clip",
    "Made by": `dynapoint ${version}; this page needs no network`,
  };
  for (const [term, text] of Object.entries(about)) {
    element("about").append(Object.assign(document.createElement("dt"), { textContent: term }),
      Object.assign(document.createElement("dd"), { textContent: text }));
  }
}

function fail(error) {
  element("message").textContent = error instanceof Error ? error.message : String(error);
  element("message").hidden = false;
  console.error(error);
}

async function begin() {
  describe();
  element("time").max = element("trail").max = TIMES - 1;
  element("time").disabled = element("play").disabled = TIMES < 2;
  element("trail").value = state.trail;
  if (window.innerWidth <= 720) document.body.classList.add("closed");
  const canvas = element("canvas");
  const gl = canvas.getContext("webgl2", { alpha: false, antialias: true });
  if (!gl || !window.DecompressionStream) {
    throw new Error("This browser lacks WebGL 2 or DecompressionStream. Please open the page in a "
      + "current Chrome, Edge, Firefox or Safari.");
  }
  canvas.addEventListener("webglcontextlost", () => fail("The graphics card was reset; reload the page."));
  drawer = new Drawer(gl);
  cameraLines = makeCameraLines();
  connectControls();
  connectView(canvas);
  resetView();
  show();
  requestAnimationFrame((now) => { lastTick = now; tick(now); });
  await loadAll();
}

// For whoever looks at the page from outside, such as tests.
window.dynapoint = { state, view, change, setTime, draw, loaded: begin() };
window.dynapoint.loaded.catch(fail);
