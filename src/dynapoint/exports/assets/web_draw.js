// Drawing: what is on the graphics card, and the calls.

// Places of lines lie in textures so many texels wide.
const LINE_TEXTURE = 1024;

/**
 * Which pixels of a frame's own cloud are corners of surfaces, three for each triangle, and which
 * touch no surface. The last bit of a point says whether the cell to its lower right is on one.
 * @param {GridFacts} grid @returns {{joined: Uint32Array, lone: Uint32Array}}
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

/**
 * A program with its uniforms by name.
 * @param {WebGL2RenderingContext} gl @param {string} vertex @param {string} fragment
 */
function makeProgram(gl, vertex, fragment) {
  const program = gl.createProgram();
  /** @type {[number, string][]} */
  const parts = [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]];
  for (const [kind, source] of parts) {
    // A lost context gives null, and its calls take that.
    const shader = /** @type {WebGLShader} */ (gl.createShader(kind));
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
    if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS) && !gl.isContextLost()) {
      throw new Error(gl.getShaderInfoLog(shader) ?? "the graphics card gives no reason");
    }
  }
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS) && !gl.isContextLost()) {
    throw new Error(gl.getProgramInfoLog(program) ?? "the graphics card gives no reason");
  }
  /** @type {Record<string, WebGLUniformLocation | null>} */
  const uniforms = {};
  for (let i = 0; i < gl.getProgramParameter(program, gl.ACTIVE_UNIFORMS); i++) {
    const { name: full } = /** @type {WebGLActiveInfo} */ (gl.getActiveUniform(program, i));
    const name = full.replace("[0]", "");
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

  /**
   * Places on a grid, 16-bit integers.
   * @param {number} columns @param {number} rows @param {Uint16Array} points
   */
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

  /** @param {number} filter */
  sampling(filter) {
    const gl = this.gl;
    for (const [name, value] of [[gl.TEXTURE_MIN_FILTER, filter], [gl.TEXTURE_MAG_FILTER, filter],
      [gl.TEXTURE_WRAP_S, gl.CLAMP_TO_EDGE], [gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE]]) {
      gl.texParameteri(gl.TEXTURE_2D, name, value);
    }
  }

  /** @param {number[]} background red, green and blue, 0 to 255 */
  clear(background) {
    const gl = this.gl;
    gl.viewport(0, 0, gl.drawingBufferWidth, gl.drawingBufferHeight);
    const [red, green, blue] = background.map((value) => value / 255);
    gl.clearColor(red, green, blue, 1);
    gl.depthMask(true);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
  }

  /**
   * What all clouds share: `look` has clipFromWorld, pixels, least, tint and background; the steps
   * of places are those of a box with `low` and `size`.
   * @param {Look} look @param {StepBox} box
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

  /** @param {WebGLTexture} grid @param {WebGLTexture} picture */
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
   * @param {Look} look @param {GridFacts & { texture: WebGLTexture }} grid
   * @param {WebGLTexture} picture @param {PageCamera} camera
   * @param {{surfaces: boolean, finer: number}} how
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
   * @param {Look} look @param {StepBox & { spacing: number[] }} cloud @param {WebGLBuffer} places
   * @param {WebGLBuffer} paint @param {number} first @param {number} count
   */
  drawPoints(look, cloud, places, paint, first, count) {
    const gl = this.gl, { uniforms } = this.clouds;
    if (!count) return;
    this.startCloud(look, cloud);
    this.bindTextures(this.emptyGrid, this.emptyPicture);
    gl.uniform1i(uniforms.kind, 0);
    gl.uniform2i(uniforms.cells, 1, 1);
    gl.uniform2fv(uniforms.spacings, cloud.spacing);
    this.attribute(0, places, gl.UNSIGNED_SHORT, 8, 0);
    this.attribute(1, paint, gl.UNSIGNED_BYTE, 4, 4 * first);
    gl.drawArrays(gl.POINTS, 0, count);
  }

  /**
   * @param {number} location @param {WebGLBuffer} buffer @param {number} kind
   * @param {number} stride @param {number} offset
   */
  attribute(location, buffer, kind, stride, offset) {
    const gl = this.gl;
    gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
    gl.enableVertexAttribArray(location);
    gl.vertexAttribPointer(location, 4, kind, true, stride, offset);
  }

  /**
   * Places and their colours, for lines between them.
   * @param {ArrayLike<number>} places x, y, z of each @param {Uint8Array} tones four of each
   * @returns {LineTextures}
   */
  linePlaces(places, tones) {
    const gl = this.gl, count = Math.max(1, places.length / 3);
    const wide = Math.min(count, LINE_TEXTURE), high = Math.ceil(count / wide);
    const texels = new Float32Array(4 * wide * high), bytes = new Uint8Array(4 * wide * high);
    for (let i = 0; i < places.length / 3; i++) {
      for (let axis = 0; axis < 3; axis++) texels[4 * i + axis] = places[3 * i + axis];
    }
    bytes.set(tones);
    /** @param {number} inside @param {number} kind @param {ArrayBufferView} content */
    const texture = (inside, kind, content) => {
      const made = gl.createTexture();
      gl.bindTexture(gl.TEXTURE_2D, made);
      gl.texImage2D(gl.TEXTURE_2D, 0, inside, wide, high, 0, gl.RGBA, kind, content);
      this.sampling(gl.NEAREST);
      return made;
    };
    return { places: texture(gl.RGBA32F, gl.FLOAT, texels),
      tones: texture(gl.RGBA8, gl.UNSIGNED_BYTE, bytes) };
  }

  /**
   * `count` lines, as many pixels wide, between places that lie `gap` entries apart; the next line
   * starts `stride` entries farther on. With `steps`, they are a trail of so many steps with
   * `perStep` lines each, which fades.
   * @param {Look} look @param {LineTextures} textures
   * @param {{first?: number, stride?: number, gap?: number, count: number, width: number,
   *   perStep?: number, steps?: number}} lines
   */
  drawLines(look, { places, tones }, { first = 0, stride = 1, gap = 1, count, width, perStep = 1,
    steps = 0 }) {
    const gl = this.gl, { program, uniforms } = this.lines;
    if (!count) return;
    gl.useProgram(program);
    gl.enable(gl.BLEND);
    /** @type {[number, WebGLTexture][]} */
    const textures = [[2, places], [3, tones]];
    for (const [unit, texture] of textures) {
      gl.activeTexture(gl.TEXTURE0 + unit);
      gl.bindTexture(gl.TEXTURE_2D, texture);
    }
    gl.activeTexture(gl.TEXTURE0);
    gl.uniform1i(uniforms.places, 2);
    gl.uniform1i(uniforms.tones, 3);
    for (const [name, value] of Object.entries({ first, stride, gap, perStep, steps })) {
      gl.uniform1i(uniforms[name], value);
    }
    gl.uniformMatrix4fv(uniforms.clipFromWorld, false, look.clipFromWorld);
    gl.uniform2f(uniforms.view, gl.drawingBufferWidth, gl.drawingBufferHeight);
    gl.uniform1f(uniforms.width, width * look.dense);
    gl.uniform1f(uniforms.strength, look.strength ?? 1);
    for (const location of [0, 1]) gl.disableVertexAttribArray(location);
    gl.drawArrays(gl.TRIANGLES, 0, 6 * count);
  }

  /**
   * A picture between four places in the world.
   * @param {Look} look @param {WebGLTexture} texture @param {number[]} corners
   * @param {number[]} share
   */
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
