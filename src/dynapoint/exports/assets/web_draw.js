// Drawing with WebGL2: clouds, lines with round ends, pictures.

const CLOUD_VERTEX = `#version 300 es
precision highp float; precision highp int; precision highp usampler2D;
layout(location=0) in vec4 place;  // 16-bit steps; w is confidence * 256 + motion
layout(location=1) in vec4 paint;  // sRGB and the logarithm of the spacing
uniform int kind;                  // 0: vertices; of a frame's own cloud 1: points, also between
                                   // pixels, 2: some of its pixels as points, 3: as surfaces
uniform mat4 clipFromWorld;
uniform vec3 low, size;
uniform usampler2D grid;           // a frame's own cloud
uniform ivec2 cells;               // its columns and rows
uniform int finer;                 // so many points are drawn along a cell
uniform vec3 eye;                  // where the frame's camera is
uniform float footprint;           // how far apart its points are, as a share of their distance
uniform vec2 spacings;
uniform float pixels;              // of a length of 1 at a distance of 1, times the point size
uniform float least;               // ranks of confidence below are hidden
out vec3 color;
out vec2 inPicture;
out float moves;
out float hidden;                  // above 0 within all triangles that touch a hidden point
uvec4 at(ivec2 cell) { return texelFetch(grid, clamp(cell, ivec2(0), cells - 1), 0); }
vec3 world(uvec4 steps) { return low + size * vec3(steps.xyz) / 65535.0; }
bool shown(uint about) { return float(about >> 8) >= least; }
bool joined(ivec2 cell) {          // whether the four points around are on one surface
  return all(greaterThanEqual(cell, ivec2(0))) && all(lessThan(cell, cells - 1))
    && (at(cell).w & 1u) == 1u;
}
bool surface(ivec2 cell) {         // the same, and none is hidden
  return joined(cell) && shown(at(cell).w) && shown(at(cell + ivec2(1, 0)).w)
    && shown(at(cell + ivec2(0, 1)).w) && shown(at(cell + 1).w);
}
void main() {
  vec3 point; uint about; float spacing = 0.0;
  color = paint.rgb; inPicture = vec2(0.0);
  if (kind == 0) {
    about = uint(place.w * 65535.0 + 0.5);
    point = low + size * place.xyz;
    spacing = spacings.x * pow(spacings.y / spacings.x, paint.w);
  } else if (kind > 1) {
    ivec2 pixel = ivec2(gl_VertexID % cells.x, gl_VertexID / cells.x);
    about = at(pixel).w;
    point = world(at(pixel));
    inPicture = (vec2(pixel) + 0.5) / vec2(cells);
    spacing = footprint * distance(point, eye);
  } else {
    int wide = cells.x * finer;
    ivec2 fine = ivec2(gl_VertexID % wide, gl_VertexID / wide);
    // Between four pixels on one surface a point is a mixture of theirs; across edges there is none.
    vec2 inner = (vec2(fine) + 0.5) / float(finer) - 0.5;
    ivec2 cell = clamp(ivec2(floor(inner)), ivec2(0), max(cells - 2, 0));
    ivec2 nearest = clamp(ivec2(floor(inner + 0.5)), ivec2(0), cells - 1);
    vec2 part = inner - vec2(cell);
    bool mixed = finer > 1 && surface(cell);
    about = at(nearest).w;
    vec3 above = mix(world(at(cell)), world(at(cell + ivec2(1, 0))), part.x);
    vec3 below = mix(world(at(cell + ivec2(0, 1))), world(at(cell + 1)), part.x);
    point = mixed ? mix(above, below, part.y) : world(at(nearest));
    inPicture = mixed ? (inner + 0.5) / vec2(cells) : (vec2(nearest) + 0.5) / vec2(cells);
    spacing = footprint * distance(point, eye) / (mixed ? float(finer) : 1.0);
  }
  gl_Position = clipFromWorld * vec4(point, 1.0);
  hidden = shown(about) ? 0.0 : 1.0;
  // Points go beyond the far plane; corners of surfaces stay, or neighbours would be stretched.
  if (kind != 3 && hidden > 0.0) gl_Position = vec4(0.0, 0.0, 2.0, 1.0);
  gl_PointSize = clamp(1.35 * pixels * spacing / max(gl_Position.w, 1e-6), 1.0, 96.0);
  moves = smoothstep(0.25, 0.75, float(about & 254u) / 254.0);
}`;

const CLOUD_FRAGMENT = `#version 300 es
precision highp float; precision highp int;
in vec3 color;
in vec2 inPicture;
in float moves;
in float hidden;
out vec4 painted;
uniform int kind;
uniform int background;            // 1 hides what is black, 2 what is white
uniform sampler2D picture;         // colours of a frame's own cloud
uniform float tint;
void main() {
  vec2 offset = gl_PointCoord - 0.5;
  if (kind != 3 && dot(offset, offset) > 0.25) discard;
  if (hidden > 0.0) discard;
  vec3 own = kind == 0 ? color : textureLod(picture, inPicture, 0.0).rgb;
  // The bounds of shown_weight in clouds.py.
  if (background == 1 && max(own.r, max(own.g, own.b)) < 15.5 / 255.0) discard;
  if (background == 2 && min(own.r, min(own.g, own.b)) > 240.5 / 255.0) discard;
  float light = dot(own, vec3(0.299, 0.587, 0.114));
  vec3 hot = mix(vec3(0.75, 0.1, 0.3), vec3(1.0, 0.85, 0.4), light);
  painted = vec4(mix(own, mix(vec3(light * 0.55), hot, moves), tint), 1.0);
}`;

const LINE_VERTEX = `#version 300 es
precision highp float;
layout(location=0) in vec3 start;
layout(location=1) in vec3 end;
layout(location=2) in vec4 tone;
uniform mat4 clipFromWorld;
uniform vec2 view;                 // in pixels
uniform float width, strength;
uniform float perStep, steps;      // segments of one step of a trail, and how many steps it has
out vec4 color;
out vec3 local;                    // along and across from the start, and the length, in pixels
void main() {
  vec4 p = clipFromWorld * vec4(start, 1.0), q = clipFromWorld * vec4(end, 1.0);
  const float near = 1e-3;
  if (p.w < near && q.w < near) { gl_Position = vec4(0.0, 0.0, 2.0, 1.0); return; }
  if (p.w < near) p = mix(q, p, (q.w - near) / (q.w - p.w));
  if (q.w < near) q = mix(p, q, (p.w - near) / (p.w - q.w));
  vec2 from = p.xy / p.w * view * 0.5, way = q.xy / q.w * view * 0.5 - from;
  float span = length(way);
  vec2 along = span > 1e-4 ? way / span : vec2(1.0, 0.0);
  float reach = 0.5 * width + 1.0;
  bool last = (gl_VertexID & 1) == 1;
  float side = (gl_VertexID & 2) == 2 ? reach : -reach;
  local = vec3(last ? span + reach : -reach, side, span);
  vec2 xy = from + along * local.x + vec2(-along.y, along.x) * side;
  vec4 nearest = last ? q : p;
  gl_Position = vec4(xy / view * 2.0 * nearest.w, nearest.zw);
  float age = steps > 0.0 ? (floor(float(gl_InstanceID) / perStep) + 1.0) / steps : 1.0;
  color = vec4(tone.rgb, tone.a * age * strength);
}`;

const LINE_FRAGMENT = `#version 300 es
precision highp float;
in vec4 color;
in vec3 local;
out vec4 painted;
uniform float width;
void main() {
  float beyond = max(max(-local.x, local.x - local.z), 0.0);
  float cover = clamp(0.5 * width + 0.5 - length(vec2(beyond, local.y)), 0.0, 1.0);
  if (cover * color.a < 0.01) discard;
  painted = vec4(color.rgb, cover * color.a);
}`;

const PICTURE_VERTEX = `#version 300 es
precision highp float;
uniform mat4 clipFromWorld;
uniform vec3 corners[4];           // top left, top right, bottom right, bottom left
uniform vec4 share;                // left, top, right, bottom in the picture
out vec2 inPicture;
void main() {
  int corner = ivec4(0, 1, 3, 2)[gl_VertexID];
  gl_Position = clipFromWorld * vec4(corners[corner], 1.0);
  bool right = corner == 1 || corner == 2;
  inPicture = vec2(right ? share.z : share.x, corner > 1 ? share.w : share.y);
}`;

const PICTURE_FRAGMENT = `#version 300 es
precision highp float;
in vec2 inPicture;
out vec4 painted;
uniform sampler2D picture;
void main() { painted = vec4(texture(picture, inPicture).rgb, 1.0); }`;

/**
 * Which pixels of a frame's own cloud are corners of surfaces, three for each triangle, and which
 * touch no surface. The last bit of a point says whether the cell to its lower right is on one.
 * @returns {{joined: Uint32Array, lone: Uint32Array}}
 */
function surfaceElements({ rows, columns, points }) {
  const joined = new Uint32Array(6 * rows * columns), lone = new Uint32Array(rows * columns);
  const touched = new Uint8Array(rows * columns);
  let corners = 0, count = 0;
  for (let row = 0; row + 1 < rows; row++) {
    for (let i = row * columns, end = i + columns - 1; i < end; i++) {
      if (!(points[4 * i + 3] & 1)) continue;
      const below = i + columns;
      joined[corners++] = i; joined[corners++] = i + 1; joined[corners++] = below;
      joined[corners++] = below; joined[corners++] = i + 1; joined[corners++] = below + 1;
      touched[i] = touched[i + 1] = touched[below] = touched[below + 1] = 1;
    }
  }
  for (let i = 0; i < touched.length; i++) if (!touched[i]) lone[count++] = i;
  return { joined: joined.subarray(0, corners), lone: lone.subarray(0, count) };
}

/** A program with its uniforms by name. */
function makeProgram(gl, vertex, fragment) {
  const program = gl.createProgram();
  for (const [kind, source] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
    if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS) && !gl.isContextLost()) {
      throw new Error(gl.getShaderInfoLog(shader));
    }
  }
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS) && !gl.isContextLost()) {
    throw new Error(gl.getProgramInfoLog(program));
  }
  const uniforms = {};
  for (let i = 0; i < gl.getProgramParameter(program, gl.ACTIVE_UNIFORMS); i++) {
    const name = gl.getActiveUniform(program, i).name.replace("[0]", "");
    uniforms[name] = gl.getUniformLocation(program, name);
  }
  return { program, uniforms };
}

/** All that is drawn, with the buffers and textures on the graphics card. */
class Drawer {
  /** @param {WebGL2RenderingContext} gl */
  constructor(gl) {
    this.gl = gl;
    this.clouds = makeProgram(gl, CLOUD_VERTEX, CLOUD_FRAGMENT);
    this.lines = makeProgram(gl, LINE_VERTEX, LINE_FRAGMENT);
    this.pictures = makeProgram(gl, PICTURE_VERTEX, PICTURE_FRAGMENT);
    // A sampler of integers and one of colours must never share a unit, even unused ones.
    this.emptyGrid = this.gridTexture(1, 1, new Uint16Array(4));
    this.emptyPicture = gl.createTexture();
    gl.bindTexture(gl.TEXTURE_2D, this.emptyPicture);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, 1, 1, 0, gl.RGBA, gl.UNSIGNED_BYTE, null);
    this.surfaces = { of: null, lone: 0, joined: 0, elements: gl.createBuffer() };
    gl.enable(gl.DEPTH_TEST);
    gl.blendFunc(gl.SRC_ALPHA, gl.ONE_MINUS_SRC_ALPHA);
  }

  /** @param {ArrayBufferView} content @returns {WebGLBuffer} */
  buffer(content) {
    const gl = this.gl, buffer = gl.createBuffer();
    gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
    gl.bufferData(gl.ARRAY_BUFFER, content, gl.STATIC_DRAW);
    return buffer;
  }

  /** Places on a grid, 16-bit integers. */
  gridTexture(columns, rows, points) {
    const gl = this.gl, texture = gl.createTexture();
    gl.bindTexture(gl.TEXTURE_2D, texture);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA16UI, columns, rows, 0, gl.RGBA_INTEGER,
      gl.UNSIGNED_SHORT, points);
    this.sampling(gl.NEAREST);
    return texture;
  }

  /** A frame's picture; its bytes stay as they are. @param {ImageBitmap} bitmap */
  pictureTexture(bitmap) {
    const gl = this.gl, texture = gl.createTexture();
    gl.bindTexture(gl.TEXTURE_2D, texture);
    gl.pixelStorei(gl.UNPACK_COLORSPACE_CONVERSION_WEBGL, gl.NONE);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGB8, gl.RGB, gl.UNSIGNED_BYTE, bitmap);
    this.sampling(gl.LINEAR);
    return texture;
  }

  sampling(filter) {
    const gl = this.gl;
    for (const [name, value] of [["TEXTURE_MIN_FILTER", filter], ["TEXTURE_MAG_FILTER", filter],
      ["TEXTURE_WRAP_S", gl.CLAMP_TO_EDGE], ["TEXTURE_WRAP_T", gl.CLAMP_TO_EDGE]]) {
      gl.texParameteri(gl.TEXTURE_2D, gl[name], value);
    }
  }

  /** @param {number[]} background red, green and blue, 0 to 255 */
  clear(background) {
    const gl = this.gl;
    gl.viewport(0, 0, gl.drawingBufferWidth, gl.drawingBufferHeight);
    gl.clearColor(...background.map((value) => value / 255), 1);
    gl.depthMask(true);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
  }

  /**
   * What all clouds share: `look` has clipFromWorld, pixels, least, tint and background; the steps
   * of places are those of a box with `low` and `size`.
   */
  startCloud(look, box) {
    const gl = this.gl, { program, uniforms } = this.clouds;
    gl.useProgram(program);
    gl.disable(gl.BLEND);
    gl.uniformMatrix4fv(uniforms.clipFromWorld, false, look.clipFromWorld);
    gl.uniform3fv(uniforms.low, box.low);
    gl.uniform3fv(uniforms.size, box.size);
    gl.uniform1f(uniforms.pixels, look.pixels);
    gl.uniform1f(uniforms.least, look.least);
    gl.uniform1f(uniforms.tint, look.tint ? 1 : 0);
    gl.uniform1i(uniforms.background, ["none", "black", "white"].indexOf(look.background));
    gl.uniform1i(uniforms.grid, 0);
    gl.uniform1i(uniforms.picture, 1);
  }

  bindTextures(grid, picture) {
    const gl = this.gl;
    gl.activeTexture(gl.TEXTURE0);
    gl.bindTexture(gl.TEXTURE_2D, grid);
    gl.activeTexture(gl.TEXTURE1);
    gl.bindTexture(gl.TEXTURE_2D, picture);
    gl.activeTexture(gl.TEXTURE0);
  }

  /**
   * A frame's own cloud, as `finer`^2 points a pixel, or as surfaces and points elsewhere.
   * `grid` has its rows and columns, points, texture, box and footprint.
   */
  drawGrid(look, grid, picture, camera, { surfaces, finer }) {
    const gl = this.gl, { uniforms } = this.clouds, { rows, columns } = grid;
    const along = surfaces ? 1 : finer;
    this.startCloud(look, grid);
    this.bindTextures(grid.texture, picture);
    gl.uniform2i(uniforms.cells, columns, rows);
    gl.uniform1i(uniforms.finer, along);
    gl.uniform3fv(uniforms.eye, camera.pose.slice(12, 15));
    gl.uniform1f(uniforms.footprint, grid.footprint);
    gl.disableVertexAttribArray(0);
    gl.disableVertexAttribArray(1);
    gl.uniform1i(uniforms.kind, surfaces ? 2 : 1);
    if (!surfaces) {
      gl.drawArrays(gl.POINTS, 0, rows * columns * along * along);
      return;
    }
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, this.surfaces.elements);
    if (this.surfaces.of !== grid) {
      const { lone, joined } = surfaceElements(grid);
      const elements = new Uint32Array(lone.length + joined.length);
      elements.set(joined);
      elements.set(lone, joined.length);
      gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, elements, gl.DYNAMIC_DRAW);
      Object.assign(this.surfaces, { of: grid, lone: lone.length, joined: joined.length });
    }
    const { lone, joined } = this.surfaces;
    gl.drawElements(gl.POINTS, lone, gl.UNSIGNED_INT, 4 * joined);
    gl.uniform1i(uniforms.kind, 3);
    gl.drawElements(gl.TRIANGLES, joined, gl.UNSIGNED_INT, 0);
  }

  /**
   * `count` points of a buffer of places in the box and with the spacings of a `cloud`, painted
   * from the `first` entry of a buffer of paint.
   */
  drawPoints(look, cloud, places, paint, first, count) {
    const gl = this.gl, { uniforms } = this.clouds;
    if (!count) return;
    this.startCloud(look, cloud);
    this.bindTextures(this.emptyGrid, this.emptyPicture);
    gl.uniform1i(uniforms.kind, 0);
    gl.uniform2i(uniforms.cells, 1, 1);
    gl.uniform2fv(uniforms.spacings, cloud.spacing);
    this.attribute(0, places, 4, gl.UNSIGNED_SHORT, 8, 0, 0);
    this.attribute(1, paint, 4, gl.UNSIGNED_BYTE, 4, 4 * first, 0);
    gl.drawArrays(gl.POINTS, 0, count);
  }

  attribute(location, buffer, width, kind, stride, offset, divisor) {
    const gl = this.gl;
    gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
    gl.enableVertexAttribArray(location);
    gl.vertexAttribPointer(location, width, kind, kind !== gl.FLOAT, stride, offset);
    gl.vertexAttribDivisor(location, divisor);
  }

  /**
   * `count` lines from entries of one buffer to those of another, as many pixels wide. With
   * `steps`, they are a trail of so many steps with `perStep` lines each, which fades.
   */
  drawLines(look, { starts, ends, tones, startByte = 0, endByte = 0, toneByte = 0, stride = 12 },
    count, width, perStep = 1, steps = 0) {
    const gl = this.gl, { program, uniforms } = this.lines;
    if (!count) return;
    gl.useProgram(program);
    gl.enable(gl.BLEND);
    gl.uniformMatrix4fv(uniforms.clipFromWorld, false, look.clipFromWorld);
    gl.uniform2f(uniforms.view, gl.drawingBufferWidth, gl.drawingBufferHeight);
    gl.uniform1f(uniforms.width, width * look.dense);
    gl.uniform1f(uniforms.strength, look.strength ?? 1);
    gl.uniform1f(uniforms.perStep, perStep);
    gl.uniform1f(uniforms.steps, steps);
    this.attribute(0, starts, 3, gl.FLOAT, stride, startByte, 1);
    this.attribute(1, ends, 3, gl.FLOAT, stride, endByte, 1);
    this.attribute(2, tones, 4, gl.UNSIGNED_BYTE, 4, toneByte, 1);
    gl.drawArraysInstanced(gl.TRIANGLE_STRIP, 0, 4, count);
    for (const location of [0, 1, 2]) {
      gl.vertexAttribDivisor(location, 0);
      gl.disableVertexAttribArray(location);
    }
  }

  /** A picture between four places in the world. */
  drawPicture(look, texture, corners, share) {
    const gl = this.gl, { program, uniforms } = this.pictures;
    gl.useProgram(program);
    gl.disable(gl.BLEND);
    this.bindTextures(this.emptyGrid, texture);
    gl.uniform1i(uniforms.picture, 1);
    gl.uniformMatrix4fv(uniforms.clipFromWorld, false, look.clipFromWorld);
    gl.uniform3fv(uniforms.corners, corners);
    gl.uniform4fv(uniforms.share, share);
    gl.drawArrays(gl.TRIANGLE_STRIP, 0, 4);
  }
}
