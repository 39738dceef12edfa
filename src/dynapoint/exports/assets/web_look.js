// Where the scene is looked at from: an eye that turns about a pivot, by mouse and fingers.

// The first view stands aside and a little farther back than the first camera, so that depth shows.
const START = { yaw: 0.17, pitch: -0.1, back: 1.42 };
const view = { yaw: 0, pitch: 0, distance: 1, pivot: [0, 0, 0] };

// Matrices are arrays of 16, column by column.

/** @param {number[]} a @param {number[]} b */
function multiplied(a, b) {
  const product = new Array(16).fill(0);
  for (let column = 0; column < 4; column++) {
    for (let row = 0; row < 4; row++) {
      for (let k = 0; k < 4; k++) product[4 * column + row] += a[4 * k + row] * b[4 * column + k];
    }
  }
  return product;
}

/** @param {number[]} m */
function inverseRigid(m) {
  const out = [m[0], m[4], m[8], 0, m[1], m[5], m[9], 0, m[2], m[6], m[10], 0, 0, 0, 0, 1];
  for (let row = 0; row < 3; row++) {
    out[12 + row] = -(out[row] * m[12] + out[4 + row] * m[13] + out[8 + row] * m[14]);
  }
  return out;
}

/** @param {number[]} m @param {number[]} place */
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
  return manifest.cameras[state.follow ? shownTime : 0].pose;
}

/**
 * What a picture of this size shows: matrices, and pixels per length at a distance of 1.
 * @param {number} width @param {number} height @returns {Look}
 */
function lookNow(width, height) {
  const corners = manifest.cameras[state.follow ? shownTime : 0].corners;
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
    least: state.least ? Math.max(1, 1 + 254 * state.least / 100) : 1,
    // Colours stay as they are until it is known what moves.
    tint: state.tint && (showsFused() || Boolean(loaded.grids.get(shownTime)?.motion)),
    background: state.background,
  };
}

function resetView() {
  const distance = manifest.medianDistance;
  view.pivot = [0, 0, distance];
  Object.assign(view, state.follow ? { yaw: 0, pitch: 0, distance }
    : { yaw: START.yaw, pitch: START.pitch, distance: START.back * distance });
  dirty = true;
}

/** @param {HTMLCanvasElement} canvas */
function connectView(canvas) {
  const fingers = new Map();
  /** @param {number} dx @param {number} dy in pixels */
  const turn = (dx, dy) => {
    view.yaw += 0.005 * dx;
    view.pitch = Math.max(-1.55, Math.min(1.55, view.pitch - 0.005 * dy));
  };
  /** @param {number} dx @param {number} dy in pixels */
  const pan = (dx, dy) => {
    const pose = orbitPose(), { tangent } = lookNow(canvas.clientWidth, canvas.clientHeight);
    const unit = 2 * tangent * view.distance / canvas.clientHeight;
    view.pivot = view.pivot.map((value, axis) => value - unit * (dx * pose[axis] + dy * pose[4 + axis]));
  };
  /** @param {number} factor */
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
      const [, other] = /** @type {[number, number[]]} */ (
        [...fingers].find(([id]) => id !== event.pointerId));
      /** @param {number[]} place */
      const apart = (place) => Math.hypot(place[0] - other[0], place[1] - other[1]) + 1;
      zoom(apart(before) / apart(now));
      pan(dx / 2, dy / 2);
    } else if (event.buttons & 2 || event.shiftKey) pan(dx, dy);
    else turn(dx, dy);
    fingers.set(event.pointerId, now);
    dirty = true;
  });
  for (const kind of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(kind, (/** @type {any} */ event) => {
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
