"use strict";
// What the page holds: a manifest, and chunks of base64 that are unpacked when they are needed.
// Axes are OpenCV's (x right, y down, z forward); matrices are arrays of 16, column by column.

/** @type {Manifest} */
const manifest = JSON.parse(
  /** @type {HTMLElement} */ (document.getElementById("manifest")).textContent);
const chunkText = /** @type {HTMLElement} */ (document.getElementById("chunks")).textContent;

/**
 * The bytes of a chunk, as they were packed.
 * @param {number} index @returns {Uint8Array<ArrayBuffer>}
 */
function chunkBytes(index) {
  const [start, end] = manifest.chunks[index];
  const text = atob(chunkText.slice(start, end));
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

/** The bytes of a deflated chunk. @param {number} index @returns {Promise<Uint8Array>} */
async function inflatedChunk(index) {
  const stream = new Blob([chunkBytes(index)]).stream();
  const inflated = stream.pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(inflated).arrayBuffer());
}

/**
 * Positions from their differences to the left and the upper neighbour: x of all, y of all, z of
 * all. The inverse of `differences` in web_packing.py.
 * @param {Uint8Array} bytes @param {number} rows @param {number} columns @returns {Uint16Array}
 */
function positionSteps(bytes, rows, columns) {
  const count = rows * columns;
  const steps = new Uint16Array(3 * count);
  const high = 3 * count;
  for (let plane = 0; plane < 3; plane++) {
    for (let row = 0; row < rows; row++) {
      let across = 0;
      const start = plane * count + row * columns;
      for (let i = start; i < start + columns; i++) {
        across += bytes[i] | (bytes[high + i] << 8);
        steps[i] = across + (row ? steps[i - columns] : 0);
      }
    }
  }
  return steps;
}

/** What a page that was exported shows: all of it is in the page. @implements {PageSource} */
class Source {
  constructor() {
    this.live = false;
    /** @type {Uint16Array[]} */
    this.paths = [];
  }

  /** A frame's picture. @param {number} time @returns {Promise<ImageBitmap>} */
  picture(time) {
    const blob = new Blob([chunkBytes(manifest.pictures[time])], { type: "image/jpeg" });
    return createImageBitmap(blob, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  }

  /**
   * A frame's own cloud, for each point: x, y, z, and confidence * 256 + motion, whose last bit
   * says that the cell to the lower right is one surface.
   * @param {number} time
   */
  async grid(time) {
    const [rows, columns] = manifest.grid, { chunk, footprint, shown } = manifest.clouds[time];
    const count = rows * columns;
    const bytes = await inflatedChunk(chunk);
    const steps = positionSteps(bytes, rows, columns);
    const points = new Uint16Array(4 * count);
    for (let i = 0; i < count; i++) {
      points[4 * i] = steps[i];
      points[4 * i + 1] = steps[count + i];
      points[4 * i + 2] = steps[2 * count + i];
      points[4 * i + 3] = (bytes[6 * count + i] << 8) | bytes[7 * count + i];
    }
    return { rows, columns, points, footprint, shown, ...manifest.box };
  }

  /**
   * The fused cloud: places of still points in the form of `grid`, and for each point red, green,
   * blue and the logarithm of its spacing. What moves is asked for by `path`.
   */
  async fused() {
    const { still, movers, spacing, stillChunk, pathChunk, paintChunk } = manifest.fused;
    const [stillBytes, pathBytes, paintBytes] = await Promise.all(
      [stillChunk, pathChunk, paintChunk].map(inflatedChunk));
    const total = still + movers, times = manifest.times.length;
    const paint = new Uint8Array(4 * total);
    for (let i = 0; i < total; i++) {
      for (let channel = 0; channel < 4; channel++) {
        paint[4 * i + channel] = paintBytes[channel * total + i];
      }
    }
    /** @param {number} i */
    const about = (i) => (paintBytes[4 * total + i] << 8) | paintBytes[5 * total + i];
    /**
     * @param {Uint16Array} steps @param {number} count @param {number} offset @param {number} i
     * @param {number} w @param {Uint16Array} into
     */
    const place = (steps, count, offset, i, w, into) => {
      for (let axis = 0; axis < 3; axis++) into[4 * i + axis] = steps[axis * count + offset + i];
      into[4 * i + 3] = w;
    };
    const places = new Uint16Array(4 * still);
    const stillSteps = positionSteps(stillBytes, 1, still);
    for (let i = 0; i < still; i++) place(stillSteps, still, 0, i, about(i), places);
    const pathSteps = positionSteps(pathBytes, times, movers);
    for (let time = 0; time < times; time++) {
      const points = new Uint16Array(4 * movers);
      const offset = time * movers;
      for (let i = 0; i < movers; i++) {
        const usable = pathBytes[6 * times * movers + offset + i];
        place(pathSteps, times * movers, offset, i, usable ? about(still + i) : 0, points);
      }
      this.paths.push(points);
    }
    return { still, movers, spacing, places, paint, ...manifest.box };
  }

  /** Where the fused points that move are at a time. @param {number} time */
  async path(time) { return this.paths[time]; }

  /** How many tracks there are, and their packed parts. */
  async tracks() {
    return { count: manifest.tracks.count, first: 0, steps: manifest.times.length, bytes: await inflatedChunk(manifest.tracks.chunk) };
  }
}
