// What a served page shows: everything is asked of the server when it is needed.

/** @type {Manifest} */
const manifest = JSON.parse(
  /** @type {HTMLElement} */ (document.getElementById("manifest")).textContent);
// With a graphics card all pixels of usual maps are drawn; without, fewer.
const MOST_FINE = 200000, MOST_COARSE = 60000;

/**
 * Facts as JSON and the bytes that follow them, beginning at a multiple of 8.
 * @param {string} path @param {Reporter} [report]
 * @returns {Promise<{facts: any, bytes: Uint8Array<ArrayBuffer>}>}
 */
async function askParts(path, report) {
  const content = await (await ask(path, report)).arrayBuffer();
  const length = new DataView(content).getUint32(0, true);
  const facts = JSON.parse(new TextDecoder().decode(new Uint8Array(content, 4, length)));
  return { facts, bytes: new Uint8Array(content, 8 * Math.ceil((4 + length) / 8)) };
}

/** @param {Uint8Array} bytes */
const shorts = (bytes, start = 0, count = (bytes.byteLength - start) / 2) =>
  new Uint16Array(bytes.buffer, bytes.byteOffset + start, count);

/** The same questions as an exported page's `Source` answers, in web_data.js. @implements {PageSource} */
class Source {
  constructor() {
    this.live = true;
  }

  /** @param {number} time */
  async picture(time) {
    const blob = await (await ask(`picture/${time}`)).blob();
    return createImageBitmap(blob, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  }

  /** @param {number} time @param {boolean} motion @returns {Promise<GridFacts>} */
  async grid(time, motion) {
    const query = `most=${slow ? MOST_COARSE : MOST_FINE}&motion=${motion ? 1 : 0}`;
    const { facts, bytes } = await askParts(`cloud/${time}?${query}`);
    return { ...facts, points: shorts(bytes) };
  }

  /** Work out which pixels of all frames move, for `grid`. @param {Reporter} report */
  async motion(report) { await ask("motion", report); }

  /** @param {Reporter} report @returns {Promise<FusedFacts>} */
  async fused(report) {
    const { facts, bytes } = await askParts("fused", report);
    const { still, movers } = facts;
    return { ...facts, places: shorts(bytes, 0, 4 * still),
      paint: bytes.subarray(8 * still, 8 * still + 4 * (still + movers)) };
  }

  /** @param {number} time */
  async path(time) { return shorts((await askParts(`path/${time}`)).bytes); }

  /** @param {{frame: number, box: number[]}} chosen @param {Reporter} report */
  async tracks({ frame, box }, report) {
    const { facts, bytes } = await askParts(`tracks/${frame}?box=${box.join(",")}`, report);
    return { ...facts, bytes };
  }

  /** Connect the controls that only a served page has. */
  connect() {
    element("from").max = TIMES - 1;
    element("from").disabled = TIMES < 2;
    element("from").addEventListener("input", (/** @type {any} */ event) => {
      state.from = Number(event.target.value);
      state.box = [0, 0, 1, 1];
      showSource();
    });
    element("from").addEventListener("change", () => {
      change("tracks", state.tracks === "off" ? "moving" : state.tracks);
    });
    connectRectangle(element("source"));
    showSource();
    connectSegments();
    connectDownloads();
  }
}

// --- the worlds of a long clip

function connectSegments() {
  const { segments } = manifest.live;
  element("segments").hidden = segments.length < 2;
  for (const { words, href, shows, current } of segments) {
    const option = new Option(words, href, current, current);
    option.disabled = !shows;
    element("segment").append(option);
  }
  element("segment").addEventListener("change", () => { location.href = element("segment").value; });
}

// --- the frame and the part of its picture that tracks start from

/** @type {ImageBitmap | null} */
let sourceBitmap = null;

async function showSource() {
  const frame = state.from;
  element("from-value").textContent = `${frame + 1}`;
  element("tracks-of").textContent = `of frame ${frame + 1}`;
  element("from").value = frame;
  try {
    const bitmap = await source.picture(frame);
    if (frame !== state.from) return;
    sourceBitmap?.close();
    sourceBitmap = bitmap;
    drawSource(state.box);
  } catch (error) {
    fail(error);
  }
}

/** The picture, once it is there, with a rectangle of it bright. @param {number[]} box */
function drawSource([left, top, right, bottom]) {
  if (!sourceBitmap) return;
  const canvas = element("source"), { width, height } = sourceBitmap;
  Object.assign(canvas, { width, height });
  const pen = canvas.getContext("2d");
  pen.drawImage(sourceBitmap, 0, 0);
  if (right - left >= 1 && bottom - top >= 1) return;
  const [x, y, w, h] = [left * width, top * height, (right - left) * width, (bottom - top) * height];
  pen.fillStyle = "rgb(0 0 0 / 0.55)";
  pen.fillRect(0, 0, width, height);
  pen.drawImage(sourceBitmap, x, y, w, h, x, y, w, h);
  pen.strokeStyle = "#f0883e";
  pen.lineWidth = Math.max(2, width / 150);
  pen.strokeRect(x, y, w, h);
}

/** @param {HTMLCanvasElement} canvas */
function connectRectangle(canvas) {
  /** @type {number[] | null} */
  let start = null;
  /** Where in the picture, in shares of its sides. @param {PointerEvent} event */
  const at = (event) => {
    const { left, top, width, height } = canvas.getBoundingClientRect();
    return [(event.clientX - left) / width, (event.clientY - top) / height]
      .map((share) => Math.max(0, Math.min(1, share)));
  };
  /** @param {number[]} begun @param {number[]} ended */
  const between = ([left, top], [x, y]) => [Math.min(left, x), Math.min(top, y),
    Math.max(left, x), Math.max(top, y)];
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    start = at(event);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (start) drawSource(between(start, at(event)));
  });
  canvas.addEventListener("pointercancel", () => {
    start = null;
    drawSource(state.box);
  });
  canvas.addEventListener("pointerup", (event) => {
    if (!start) return;
    const box = between(start, at(event));
    start = null;
    if (!sourceBitmap) return;
    const large = (box[2] - box[0]) > 0.01 && (box[3] - box[1]) > 0.01;
    state.box = large ? box.map((share) => Number(share.toFixed(4))) : [0, 0, 1, 1];
    drawSource(state.box);
    // Who marks a region wants to see its tracks, whether they move or not.
    change("tracks", large ? "all" : state.tracks);
  });
}

// --- downloads

function connectDownloads() {
  const { formats, uploads } = manifest.live;
  element("another").hidden = !uploads;
  for (const { name } of formats) element("format").append(new Option(name, name));
  const note = () => {
    element("format-note").textContent = formats[element("format").selectedIndex].words;
  };
  element("format").addEventListener("change", note);
  note();
  element("download").addEventListener("click", async () => {
    const button = element("download"), format = element("format").value;
    button.disabled = true;
    try {
      const { href, name } = await (await ask(`export/${format}`, report, { method: "POST" })).json();
      saveAs(href, name);
    } catch (error) {
      fail(error);
    } finally {
      button.disabled = false;
    }
  });
}
