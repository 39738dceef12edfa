// The page: what is drawn, its controls and its clock.

const DARK = [24, 24, 30], LIGHT = [246, 246, 248];
const ACCENT = [240, 136, 62, 255], QUIET = [150, 150, 165, 150];
// Pictures and edges of cameras are drawn at this share of the median distance.
const CAMERA_SIZE = 0.07;
// No more cameras than these are drawn at once.
const MOST_CAMERAS = 30;
// Trails go back no farther than tracks of long scenes do.
const MOST_TRAIL = 119;
// Points are drawn between pixels of maps whose longer side has fewer than so many.
const FINE = 320;
/** @type {Drawer} */
let drawer;
/** @type {ReturnType<typeof makeCameraLines>} */
let cameraLines;
let clock = 0, lastTick = 0;

// --- drawing

function draw() {
  const canvas = /** @type {HTMLCanvasElement} */ (drawer.gl.canvas);
  const dense = Math.min(window.devicePixelRatio || 1, 2);
  const width = Math.max(1, Math.round(canvas.clientWidth * dense));
  const height = Math.max(1, Math.round(canvas.clientHeight * dense));
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const look = { ...lookNow(width, height), dense };
  drawer.clear(state.light ? LIGHT : DARK);
  const grid = loaded.grids.get(shownTime), picture = loaded.pictures.get(shownTime);
  const { fused } = loaded;
  if (fused && showsFused()) {
    const { still, movers, places, paint } = fused;
    drawer.drawPoints(look, fused, places, paint, 0, still);
    const path = loaded.paths.get(shownTime);
    if (path) drawer.drawPoints(look, fused, path.buffer, paint, still, movers);
  } else if (grid && picture) {
    // Points finer than a coarse map, with colours of the picture, which is finer too.
    const finer = Math.max(1, Math.min(4, Math.ceil(FINE / Math.max(grid.rows, grid.columns))));
    drawer.drawGrid(look, grid, picture.texture, manifest.cameras[shownTime],
      { surfaces: state.surfaces, finer });
  }
  drawCameras(look);
  drawTracks(look);
  dirty = false;
}

/** @param {Look} look */
function drawTracks(look) {
  const tracks = loaded.tracks[state.tracks];
  if (!tracks || !tracks.count) return;
  // Tracks of a long scene are known at the times about their frame's own alone.
  const { count } = tracks, now = shownTime - tracks.first;
  if (now < 0 || now >= tracks.steps) return;
  const first = Math.max(0, now - state.trail), steps = now - first;
  const { gl } = drawer;
  gl.depthMask(false);
  // What is behind or within things shines through faintly.
  for (const [test, strength] of [[gl.ALWAYS, 0.3], [gl.LESS, 1]]) {
    gl.depthFunc(test);
    drawer.drawLines({ ...look, strength }, tracks, { first: count * first, gap: count,
      count: steps * count, width: 2, perStep: count, steps });
    drawer.drawLines({ ...look, strength }, tracks, { first: count * now, gap: 0, count,
      width: 4.5 });
  }
  gl.depthMask(true);
}

/** The cameras that are drawn when all are: an even choice of them. */
const drawnCameras = [...new Set(Array.from({ length: Math.min(TIMES, MOST_CAMERAS) },
  (_, i) => Math.round(i * (TIMES - 1) / Math.max(1, Math.min(TIMES, MOST_CAMERAS) - 1))))];

/** The eight edges of a camera. @param {PageCamera} camera */
function cameraEdges({ pose, corners }) {
  const reach = CAMERA_SIZE * manifest.medianDistance, eye = pose.slice(12, 15);
  const outer = [0, 1, 2, 3].map((i) => moved(pose,
    [reach * corners[2 * i], reach * corners[2 * i + 1], reach]));
  return outer.flatMap((corner, i) => [...eye, ...corner, ...corner, ...outer[(i + 1) % 4]]);
}

/** Edges of the cameras that are drawn when all are, with the way through all; and of each. */
function makeCameraLines() {
  const ends = drawnCameras.flatMap((time) => cameraEdges(manifest.cameras[time]));
  const eyes = manifest.cameras.map(({ pose }) => pose.slice(12, 15));
  for (let i = 1; i < TIMES; i++) ends.push(...eyes[i - 1], ...eyes[i]);
  /** @param {number[]} places @param {number[]} tone */
  const lines = (places, tone) => drawer.linePlaces(places,
    new Uint8Array(new Array(places.length / 3).fill(tone).flat()));
  return { all: lines(ends, QUIET), count: ends.length / 6,
    each: lines(manifest.cameras.flatMap(cameraEdges), ACCENT) };
}

/** @param {Look} look */
function drawCameras(look) {
  // Who looks through a camera would see nothing but the pictures of others.
  if (state.cameras === "off" || state.follow) return;
  const all = state.cameras === "all", reach = CAMERA_SIZE * manifest.medianDistance;
  for (const time of new Set(all ? [...drawnCameras, shownTime] : [shownTime])) {
    const picture = loaded.pictures.get(time);
    const { pose, shownCorners, shownShare } = manifest.cameras[time];
    if (!picture) continue;
    const places = [0, 1, 2, 3].map((i) => moved(pose,
      [reach * shownCorners[2 * i], reach * shownCorners[2 * i + 1], reach]));
    drawer.drawPicture(look, picture.texture, places.flat(), shownShare);
  }
  if (all) {
    drawer.drawLines(look, cameraLines.all, { stride: 2, count: cameraLines.count, width: 1.2 });
  }
  drawer.drawLines(look, cameraLines.each, { first: 16 * shownTime, stride: 2, count: 8, width: 2 });
}

// --- the clock

/** @param {number} time */
function setTime(time) {
  state.time = Math.max(0, Math.min(TIMES - 1, time));
  keepLoading().catch((error) => { setPlaying(false); fail(error); });
  show();
}

/** @param {boolean} playing */
function setPlaying(playing) {
  state.playing = playing && TIMES > 1;
  if (state.playing && state.time === TIMES - 1) setTime(0);
  clock = manifest.beginsS[state.time];
  show();
}

/** @param {number} now in milliseconds */
function tick(now) {
  const step = Math.min(0.25, (now - lastTick) / 1000);
  lastTick = now;
  // The clock waits for frames that have not come yet.
  if (state.playing && shownTime === state.time) {
    clock = (clock + step) % manifest.beginsS[TIMES];
    const time = manifest.beginsS.findLastIndex((start) => start <= clock);
    if (time !== state.time) setTime(time);
  }
  if (dirty) draw();
  requestAnimationFrame(tick);
}

// --- controls

/** Buttons that set a part of the state to one of several values. @returns {any[]} */
const choices = () => [...document.querySelectorAll("[data-set]")];

/** Bring all controls in line with the state. */
function show() {
  const seconds = manifest.beginsS[state.time].toFixed(2);
  element("time").value = state.time;
  element("time-value").textContent = `${seconds} s · ${state.time + 1} / ${TIMES}`;
  element("play").classList.toggle("playing", state.playing);
  element("play").ariaLabel = state.playing ? "Pause" : "Play";
  element("size-value").textContent = `${state.size.toFixed(2)} ×`;
  element("least-value").textContent = `${state.least} %`;
  element("trail-value").textContent = state.trail === 1 ? "1 frame" : `${state.trail} frames`;
  for (const button of choices()) {
    button.setAttribute("aria-pressed", String(state[button.dataset.set] === button.dataset.value));
  }
  for (const name of ["surfaces", "tint", "follow", "light"]) element(name).checked = state[name];
  // Frozen time has points alone, and surfaces have none but those on edges, which are hidden first.
  element("surfaces").disabled = state.cloud === "fused";
  element("size").disabled = state.cloud === "frame" && state.surfaces && state.least > 0;
  document.body.classList.toggle("light", state.light);
}

/** What the points shown are. */
function describeCloud() {
  const { fused } = loaded, grid = loaded.grids.get(shownTime);
  /** @param {number} value */
  const number = (value) => value.toLocaleString("en");
  element("count").textContent = fused && showsFused()
    ? `${number(fused.still + fused.movers)} points of up to 16 frames, where they are at `
      + (manifest.fusedTimes < TIMES ? `the nearest of ${manifest.fusedTimes} times` : "this time")
    : (grid ? `${number(grid.shown)} pixels of this frame, at its own time` : "");
}

/** @param {string} name @param {any} value */
function change(name, value) {
  state[name] = value;
  element("message").hidden = true;
  if (name === "follow") resetView();
  dirty = true;
  show();
  describeCloud();
  return loadWanted().then(describeCloud).catch(fail);
}

function screenshot() {
  draw();
  const canvas = /** @type {HTMLCanvasElement} */ (drawer.gl.canvas);
  canvas.toBlob((blob) => {
    const address = URL.createObjectURL(/** @type {Blob} */ (blob));
    const time = String(manifest.times[shownTime]).padStart(4, "0");
    saveAs(address, `${manifest.name}-${time}.png`);
    setTimeout(() => URL.revokeObjectURL(address), 10000);
  }, "image/png");
}

/** Let the browser save what is at an address. @param {string} href @param {string} download */
function saveAs(href, download) {
  Object.assign(document.createElement("a"), { href, download }).click();
}

function connectControls() {
  /** @param {string} id @param {(value: number) => void} use */
  const range = (id, use) => element(id).addEventListener("input", (/** @type {any} */ event) => {
    use(Number(event.target.value));
    dirty ||= id !== "time";
    show();
  });
  range("time", (value) => { setPlaying(false); setTime(value); });
  range("size", (value) => { state.size = 4 ** value; });
  range("least", (value) => { state.least = value; });
  range("trail", (value) => { state.trail = value; });
  for (const name of ["surfaces", "tint", "follow", "light"]) {
    element(name).addEventListener("change", (/** @type {any} */ event) => {
      change(name, event.target.checked);
    });
  }
  for (const button of choices()) {
    button.addEventListener("click", () => change(button.dataset.set, button.dataset.value));
  }
  element("play").addEventListener("click", () => setPlaying(!state.playing));
  element("reset").addEventListener("click", resetView);
  element("screenshot").addEventListener("click", screenshot);
  element("message").addEventListener("click", () => { element("message").hidden = true; });
  element("panel-toggle").addEventListener("click", () => document.body.classList.toggle("closed"));
  // A control that was clicked lets go of the keyboard, so that space plays.
  document.addEventListener("pointerup", () => {
    const active = /** @type {HTMLElement | null} */ (document.activeElement);
    if (active?.tagName !== "SELECT") active?.blur();
  });
  document.addEventListener("keydown", pressKey);
}

/** @param {any} event */
function pressKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const onControl = event.target.closest?.("button, input:not([type=range]), summary, select");
  /** @type {Record<string, () => void>} */
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
  if (!action || ((event.key === " " || event.key.startsWith("Arrow")) && onControl)) return;
  if (event.key.startsWith("Arrow") && event.target.type === "range") return;
  event.preventDefault();
  action();
}

// --- the start

function describe() {
  const { name, model, version, note, sourceFrames, box } = manifest;
  element("name").textContent = name;
  element("summary").textContent = `${TIMES} frame${TIMES === 1 ? "" : "s"} · ${model}`;
  element("hints").textContent = window.matchMedia("(pointer: coarse)").matches
    ? "Drag to turn · two fingers to move and zoom"
    : "Drag to turn · right button or Shift to move · wheel to zoom · space plays · ← → step · "
      + "F freezes time · R resets";
  /** @param {number[]} values */
  const round = (values) => values.map((value) => value.toPrecision(3)).join(", ");
  const about = {
    ...(note ? { "Left out": note } : {}),
    "Frames of the source": TIMES > 1 ? `${sourceFrames[0]} to ${sourceFrames[TIMES - 1]}`
      : `${sourceFrames[0]}`,
    "Places": "x right, y down, z forward from the first camera, in scene units (not metric unless "
      + "said)",
    "Exactness": (box ? `stored in 16 bits within a box of ${round(box.size)}: along each axis at `
      + `most ${round(box.error)} from where they were computed.`
      : "sent in 16 bits within each cloud's own box.")
      + " Points farther than 20 median distances are left out.",
    "Each frame": "surfaces lie between neighbouring pixels of about equal depth; points on edges "
      + "are the least sure and hidden first",
    "Freeze time": "what stands still is stored once, what moves with its path over all times",
    "Motion tint": "glowing: likely to move during the clip",
    "Made by": `dynapoint ${version}`
      + (source.live ? "" : "; this page needs no network"),
  };
  for (const [term, text] of Object.entries(about)) {
    element("about").append(Object.assign(document.createElement("dt"), { textContent: term }),
      Object.assign(document.createElement("dd"), { textContent: text }));
  }
}

// Notices go away by themselves after so long, but not those of a page that cannot go on.
const NOTICE_MS = 8000;
let noticeTimer = 0;

/** @param {unknown} error @param {boolean} [stays] */
function fail(error, stays = false) {
  element("message").textContent = error instanceof Error ? error.message : String(error);
  element("message").hidden = false;
  clearTimeout(noticeTimer);
  if (!stays) noticeTimer = setTimeout(() => { element("message").hidden = true; }, NOTICE_MS);
  report(0, "");
  console.error(error);
}

/**
 * Where there is no graphics card, edges are not smoothed: it would take longer than all else.
 * @param {HTMLCanvasElement} canvas
 */
function context(canvas) {
  const gl = canvas.getContext("webgl2", { alpha: false, antialias: !slow });
  if (!gl || !window.DecompressionStream) {
    throw new Error("This browser lacks WebGL 2 or DecompressionStream. Please open the page in a "
      + "current Chrome, Edge, Firefox or Safari.");
  }
  canvas.addEventListener("webglcontextlost", () => fail("The graphics card was reset; reload the page.", true));
  return gl;
}

async function begin() {
  describe();
  document.body.classList.toggle("live", source.live);
  element("time").max = TIMES - 1;
  element("trail").max = Math.min(TIMES - 1, MOST_TRAIL);
  element("time").disabled = element("play").disabled = TIMES < 2;
  element("trail").value = state.trail;
  if (window.innerWidth <= 720) document.body.classList.add("closed");
  const canvas = element("canvas");
  drawer = new Drawer(context(canvas));
  cameraLines = makeCameraLines();
  connectControls();
  connectView(canvas);
  source.connect?.();
  resetView();
  show();
  requestAnimationFrame((now) => { lastTick = now; tick(now); });
  await loadAll();
}

// For whoever looks at the page from outside, such as tests.
window.dynapoint = { state, view, change, setTime, draw, report, loaded: begin(),
  shown: () => shownTime };
window.dynapoint.loaded.catch((error) => fail(error, true));
