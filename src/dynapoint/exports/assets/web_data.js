"use strict";
// What the page holds: a manifest, and chunks of base64 that are unpacked when they are needed.
// Axes are OpenCV's (x right, y down, z forward); matrices are arrays of 16, column by column.

const manifest = JSON.parse(document.getElementById("manifest").textContent);
const chunkText = document.getElementById("chunks").textContent;

/** The bytes of a chunk, as they were packed. @param {number} index @returns {Uint8Array} */
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

/** A frame's picture. @param {number} time @returns {Promise<ImageBitmap>} */
function picture(time) {
  const blob = new Blob([chunkBytes(manifest.pictures[time])], { type: "image/jpeg" });
  return createImageBitmap(blob, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
}

/**
 * A frame's own cloud, for each point: x, y, z, and confidence * 256 + motion, whose last bit says
 * that the cell to the lower right is one surface.
 * @param {number} time @returns {Promise<Uint16Array>}
 */
async function ownCloud(time) {
  const [rows, columns] = manifest.grid;
  const count = rows * columns;
  const bytes = await inflatedChunk(manifest.clouds[time].chunk);
  const steps = positionSteps(bytes, rows, columns);
  const points = new Uint16Array(4 * count);
  for (let i = 0; i < count; i++) {
    points[4 * i] = steps[i];
    points[4 * i + 1] = steps[count + i];
    points[4 * i + 2] = steps[2 * count + i];
    points[4 * i + 3] = (bytes[6 * count + i] << 8) | bytes[7 * count + i];
  }
  return points;
}

/**
 * The fused cloud: places of still points, places of movers at each time, both in the form of
 * `ownCloud`, and for each point red, green, blue and the logarithm of its spacing.
 * @returns {Promise<{still: Uint16Array, paths: Uint16Array[], paint: Uint8Array}>}
 */
async function fusedCloud() {
  const { still, movers, stillChunk, pathChunk, paintChunk } = manifest.fused;
  const [stillBytes, pathBytes, paintBytes] = await Promise.all(
    [stillChunk, pathChunk, paintChunk].map(inflatedChunk));
  const total = still + movers, times = manifest.times.length;
  const paint = new Uint8Array(4 * total);
  for (let i = 0; i < total; i++) {
    for (let channel = 0; channel < 4; channel++) {
      paint[4 * i + channel] = paintBytes[channel * total + i];
    }
  }
  const about = (i) => (paintBytes[4 * total + i] << 8) | paintBytes[5 * total + i];
  const place = (steps, count, offset, i, w, into) => {
    for (let axis = 0; axis < 3; axis++) into[4 * i + axis] = steps[axis * count + offset + i];
    into[4 * i + 3] = w;
  };
  const stillPoints = new Uint16Array(4 * still);
  const stillSteps = positionSteps(stillBytes, 1, still);
  for (let i = 0; i < still; i++) place(stillSteps, still, 0, i, about(i), stillPoints);
  const pathSteps = positionSteps(pathBytes, times, movers);
  const paths = [];
  for (let time = 0; time < times; time++) {
    const points = new Uint16Array(4 * movers);
    const offset = time * movers;
    for (let i = 0; i < movers; i++) {
      const usable = pathBytes[6 * times * movers + offset + i];
      place(pathSteps, times * movers, offset, i, usable ? about(still + i) : 0, points);
    }
    paths.push(points);
  }
  return { still: stillPoints, paths, paint };
}

/**
 * Tracks: for each time and track x, y, z and, in the same order, how visible it is; a colour and a
 * probability of motion for each track.
 */
async function trackSet() {
  const { count, chunk } = manifest.tracks;
  const entries = count * manifest.times.length;
  const bytes = await inflatedChunk(chunk);
  let start = 12 * entries;
  const next = (length) => bytes.subarray(start, (start += length));
  return {
    points: new Float32Array(bytes.buffer, 0, 3 * entries),
    colors: next(3 * count), motion: next(count), visible: next(entries),
  };
}
