// How clouds, lines with round ends and pictures are drawn, in WebGL2's own language.

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
precision highp float; precision highp int;
uniform highp sampler2D places, tones;
// Line i goes from entry first + stride * i of the places to the one gap farther on. Instances
// would be simpler, but where a processor draws each of them costs as much as a whole call.
uniform int first, stride, gap;
uniform mat4 clipFromWorld;
uniform vec2 view;                 // in pixels
uniform float width, strength;
uniform int perStep, steps;        // segments of one step of a trail, and how many steps it has
out vec4 color;
out vec3 local;                    // along and across from the start, and the length, in pixels
ivec2 at(int entry) { int wide = textureSize(places, 0).x; return ivec2(entry % wide, entry / wide); }
void main() {
  int line = gl_VertexID / 6, corner = int[6](0, 1, 2, 2, 1, 3)[gl_VertexID % 6];
  int start = first + stride * line;
  vec4 tone = texelFetch(tones, at(start), 0);
  vec4 p = clipFromWorld * vec4(texelFetch(places, at(start), 0).xyz, 1.0);
  vec4 q = clipFromWorld * vec4(texelFetch(places, at(start + gap), 0).xyz, 1.0);
  const float near = 1e-3;
  if (p.w < near && q.w < near) { gl_Position = vec4(0.0, 0.0, 2.0, 1.0); return; }
  if (p.w < near) p = mix(q, p, (q.w - near) / (q.w - p.w));
  if (q.w < near) q = mix(p, q, (p.w - near) / (p.w - q.w));
  vec2 from = p.xy / p.w * view * 0.5, way = q.xy / q.w * view * 0.5 - from;
  float span = length(way);
  vec2 along = span > 1e-4 ? way / span : vec2(1.0, 0.0);
  float reach = 0.5 * width + 1.0;
  bool last = (corner & 1) == 1;
  float side = (corner & 2) == 2 ? reach : -reach;
  local = vec3(last ? span + reach : -reach, side, span);
  vec2 xy = from + along * local.x + vec2(-along.y, along.x) * side;
  vec4 nearest = last ? q : p;
  gl_Position = vec4(xy / view * 2.0 * nearest.w, nearest.zw);
  float age = steps > 0 ? float(line / perStep + 1) / float(steps) : 1.0;
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
