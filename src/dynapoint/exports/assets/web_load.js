// What the source has given so far, and what is asked of it next.

// So many frames are kept at most, of about 1 MB each; those farthest in time go first.
const KEPT_FRAMES = 200;
// So many frames ahead of the current one are asked for while nobody waits for anything else.
const AHEAD = Math.min(source.live ? 12 : TIMES - 1, TIMES - 1, KEPT_FRAMES - 2);

// Lines are what a processor draws most slowly.
const MOST_SLOW_TRACKS = 300;

/** @type {Loaded} */
const loaded = {
  grids: new Map(), pictures: new Map(), paths: new Map(), fused: null, tracks: {}, trackKey: null,
  motion: !source.live,
};
/** @type {object | null | undefined} */
let shownCloud = null;
let shownTime = 0, working = false;

/** Whether all frames are shown at once; until they are fused, each frame still is. */
const showsFused = () => state.cloud === "fused" && loaded.fused !== null;

/** Whether all is there that showing a frame needs. @param {number} time */
function isLoaded(time) {
  const cloud = showsFused() ? loaded.paths.has(time)
    : loaded.grids.get(time)?.motion === loaded.motion;
  return cloud && loaded.pictures.has(time);
}

/** @param {number} time */
async function loadFrame(time) {
  const parts = [];
  if (!loaded.pictures.has(time)) parts.push(loadPicture(time));
  if (showsFused() && !loaded.paths.has(time)) parts.push(loadPath(time));
  if (!showsFused() && loaded.grids.get(time)?.motion !== loaded.motion) parts.push(loadGrid(time));
  await Promise.all(parts);
}

/** @param {number} time */
async function loadGrid(time) {
  const motion = loaded.motion, grid = await source.grid(time, motion);
  hold(loaded.grids, time, { ...grid, motion,
    texture: drawer.gridTexture(grid.columns, grid.rows, grid.points) });
}

/** @param {number} time */
async function loadPicture(time) {
  const bitmap = await source.picture(time);
  hold(loaded.pictures, time, { texture: drawer.pictureTexture(bitmap) });
  bitmap.close();
}

/** @param {number} time */
async function loadPath(time) {
  hold(loaded.paths, time, { buffer: drawer.buffer(await source.path(time)) });
}

/**
 * Keep what belongs to a frame, in the place of others if there are too many.
 * @param {Map<number, any>} map @param {number} time @param {object} held
 */
function hold(map, time, held) {
  drop(map, time);
  map.set(time, held);
  // Those that `nextWanted` asks for stay, or it would ask for them again and again, and so do the
  // pictures of the cameras that are drawn.
  const stay = map === loaded.pictures ? drawnCameras : [];
  /** @param {number} other */
  const away = (other) => {
    const ahead = (other - state.time + TIMES) % TIMES;
    return ahead <= AHEAD || other === shownTime || stay.includes(other) ? -1
      : Math.min(ahead, TIMES - ahead);
  };
  while (map.size > KEPT_FRAMES + stay.length) {
    drop(map, [...map.keys()].reduce((a, b) => (away(b) > away(a) ? b : a)));
  }
}

/** @param {Map<number, any>} map @param {number} time */
function drop(map, time) {
  const held = map.get(time);
  if (held?.texture) drawer.gl.deleteTexture(held.texture);
  if (held?.buffer) drawer.gl.deleteBuffer(held.buffer);
  map.delete(time);
}

// Frames that could not be had are asked for again only when they are the current one.
const failed = new Set();

/** The frame to be loaded next: the current one, or one that will be wanted soon. */
function nextWanted() {
  for (let ahead = 0; ahead <= AHEAD; ahead++) {
    const time = (state.time + ahead) % TIMES;
    if (!isLoaded(time) && (ahead === 0 || !failed.has(time))) return time;
  }
  return null;
}

/** Load what is wanted, one frame after another, always the current one first. */
async function keepLoading() {
  showCurrent();
  if (working) return;
  working = true;
  try {
    for (let time = nextWanted(), count = 0; time !== null; time = nextWanted(), count++) {
      try {
        await loadFrame(time);
        failed.delete(time);
      } catch (error) {
        failed.add(time);
        if (time === state.time) throw error;
      }
      showCurrent();
      if (!source.live) progress((count + 1) / TIMES);
    }
  } finally {
    working = false;
    if (!source.live) progress(1);
  }
}

/** Show the current frame as soon as it is there; until then the one before stays. */
function showCurrent() {
  if (isLoaded(state.time) && freshly(state.time)) {
    shownTime = state.time;
    dirty = true;
    describeCloud();
  }
}

/** Whether a frame, or its cloud, is another one than was shown last. @param {number} time */
function freshly(time) {
  const now = (showsFused() ? loaded.paths : loaded.grids).get(time);
  const fresh = now !== shownCloud || time !== shownTime;
  shownCloud = now;
  return fresh;
}

const underWay = new Map();

/**
 * Load something once, however often it is asked for meanwhile.
 * @param {string} name @param {() => Promise<void>} load
 */
function once(name, load) {
  if (!underWay.has(name)) underWay.set(name, load().finally(() => underWay.delete(name)));
  return underWay.get(name);
}

async function loadFused() {
  if (loaded.fused) return;
  await once("fused", async () => {
    const cloud = await source.fused(report);
    loaded.fused = { ...cloud, places: drawer.buffer(cloud.places), paint: drawer.buffer(cloud.paint) };
    dirty = true;
  });
}

/**
 * The parts of packed tracks: for each of `steps` times and track x, y, z and, in the same order, how visible it
 * is; a colour and a probability of motion for each track.
 * @param {Uint8Array} bytes @param {number} count @param {number} steps
 */
function trackParts(bytes, count, steps) {
  const entries = count * steps;
  let start = 12 * entries;
  /** @param {number} length */
  const next = (length) => bytes.subarray(start, (start += length));
  return {
    points: new Float32Array(bytes.buffer, bytes.byteOffset, 3 * entries),
    colors: next(3 * count), motion: next(count), visible: next(entries),
  };
}

/** Tracks of the chosen frame and part of its picture, if they are others than those at hand. */
async function loadTracks() {
  const chosen = { frame: state.from, box: state.box }, key = JSON.stringify(chosen);
  if (loaded.trackKey === key) return;
  loaded.trackKey = key;
  let packed;
  try {
    packed = await source.tracks(chosen, (share, words) => {
      // Nobody waits for these any longer, so they are not asked for again.
      if (loaded.trackKey !== key) throw new Error("others are wanted");
      report(share, words);
    });
  } catch (error) {
    if (loaded.trackKey !== key) return;
    loaded.trackKey = null;
    throw error;
  }
  if (loaded.trackKey !== key) return;
  const { count, first, steps, bytes } = packed;
  const { points, colors, motion, visible } = trackParts(bytes, count, steps);
  const every = [...motion.keys()], moving = every.filter((i) => motion[i] > 127);
  /** @type {[string, number[]][]} */
  const kinds = [["all", thinned(every)], ["moving", thinned(moving)]];
  for (const [name, some] of kinds) {
    const places = new Float32Array(3 * steps * some.length);
    const tones = new Uint8Array(4 * steps * some.length);
    for (let step = 0, entry = 0; step < steps; step++) {
      for (const track of some) {
        const from = step * count + track;
        places.set(points.subarray(3 * from, 3 * from + 3), 3 * entry);
        tones.set(colors.subarray(3 * track, 3 * track + 3), 4 * entry);
        tones[4 * entry++ + 3] = 90 + 165 * visible[from] / 255;
      }
    }
    const old = loaded.tracks[name];
    if (old) for (const part of [old.places, old.tones]) drawer.gl.deleteTexture(part);
    loaded.tracks[name] = { ...drawer.linePlaces(places, tones), count: some.length, first, steps };
  }
  element("tracks-when").textContent = steps < TIMES ? `, at frames ${first + 1} to ${first + steps}` : "";
  dirty = true;
}

/** As many of the tracks as can be drawn in time. @param {number[]} tracks */
function thinned(tracks) {
  const step = slow ? Math.ceil(tracks.length / MOST_SLOW_TRACKS) : 1;
  return tracks.filter((_, index) => index % step === 0);
}

async function loadMotion() {
  if (loaded.motion) return;
  await once("motion", async () => source.motion?.(report));
  loaded.motion = true;
}

/** The pictures of all cameras that are drawn. */
async function loadCameras() {
  for (const time of drawnCameras) {
    if (!loaded.pictures.has(time)) await loadPicture(time);
    dirty = true;
  }
}

/** Load whatever the state asks for. */
async function loadWanted() {
  const frames = keepLoading().catch(fail);
  if (state.tracks !== "off") await loadOr("tracks", "off", loadTracks);
  if (state.cloud === "fused") await loadOr("cloud", "frame", loadFused);
  // The fused cloud knows itself what moves.
  if (state.tint && !showsFused()) await loadOr("tint", false, loadMotion);
  if (state.cameras === "all") await loadOr("cameras", "current", loadCameras);
  await frames;
  await keepLoading();
}

/**
 * Load a part; what cannot be had is not wanted any longer, so that all else goes on.
 * @param {string} name @param {any} otherwise @param {() => Promise<void>} load
 */
async function loadOr(name, otherwise, load) {
  const wanted = state[name];
  try {
    await load();
  } catch (error) {
    if (state[name] === wanted) state[name] = otherwise;
    dirty = true;
    show();
    fail(error);
  }
}

/** All that an exported page holds, so that nothing has to be waited for later. */
async function loadAll() {
  await loadFrame(0);
  showCurrent();
  if (source.live) {
    await loadWanted();
    return;
  }
  await loadTracks();
  await loadFused();
  for (let time = 0; time < Math.min(TIMES, KEPT_FRAMES); time++) await loadPath(time);
  await keepLoading();
}

/** @param {number} share */
function progress(share) {
  element("loading").firstElementChild.style.width = `${100 * share}%`;
  element("loading").style.opacity = share < 1 ? 1 : 0;
}

/**
 * Say how far a longer piece of work is; without words, that it is done.
 * @param {number} share @param {string} words
 */
function report(share, words) {
  element("working").hidden = !words;
  // Some work does not say how far it is.
  const percent = share > 0 ? ` ${Math.round(100 * share)} %` : "";
  element("working-words").textContent = `${words} …${percent}`;
  element("working-bar").style.width = `${100 * share}%`;
}
