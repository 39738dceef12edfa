// What the pages' scripts share, for the type checker alone. The Python that writes each is named.

/** Positions of 16-bit steps lie in a box. `web_packing.Box`. */
interface StepBox {
  low: number[];
  size: number[];
}

/** `web_page.page_facts`: a pose is 16 numbers, column by column; corners are x, y at depth 1. */
interface PageCamera {
  pose: number[];
  corners: number[];
  shownCorners: number[];
  shownShare: number[];
}

/** What a page knows from the start. */
interface Manifest {
  name: string;
  model: string;
  version: string;
  /** What was left out of the source or the scene. */
  note: string | null;
  times: number[];
  sourceFrames: number[];
  /** When each frame begins, and when the last one ends, in seconds. */
  beginsS: number[];
  /** At how many times what is fused has places. */
  fusedTimes: number;
  follow: boolean;
  medianDistance: number;
  cameras: PageCamera[];
  /** From here to `tracks`, only an exported page; at last, only a served one. */
  box: StepBox & { error: number[] };
  /** Where each chunk begins and ends in the text of all. */
  chunks: [number, number][];
  pictures: number[];
  grid: [number, number];
  clouds: { chunk: number; footprint: number; shown: number }[];
  fused: {
    still: number; movers: number; spacing: [number, number];
    stillChunk: number; pathChunk: number; paintChunk: number;
  };
  tracks: { count: number; chunk: number };
  live: {
    formats: { name: string; words: string }[]; uploads: boolean;
    segments: { words: string; href: string; shows: boolean; current: boolean }[];
  };
}

/** Says how far a longer piece of work is. */
type Reporter = (share: number, words: string) => void;

/** A frame's own cloud; x, y, z and certainty * 256 + motion of each point. */
interface GridFacts extends StepBox {
  rows: number;
  columns: number;
  footprint: number;
  shown: number;
  points: Uint16Array;
}

interface FusedFacts extends StepBox {
  still: number;
  movers: number;
  spacing: number[];
  places: Uint16Array;
  paint: Uint8Array;
}

/** What both pages ask for what they show: `web_data.js` has it at hand, `live.js` asks a server. */
interface PageSource {
  live: boolean;
  picture(time: number): Promise<ImageBitmap>;
  grid(time: number, motion: boolean): Promise<GridFacts>;
  /** Only a served page works out later which pixels move. */
  motion?(report: Reporter): Promise<void>;
  fused(report: Reporter): Promise<FusedFacts>;
  path(time: number): Promise<Uint16Array>;
  tracks(chosen: { frame: number; box: number[] }, report: Reporter):
    Promise<{ count: number; first: number; steps: number; bytes: Uint8Array }>;
  connect?(): void;
}

interface LineTextures {
  places: WebGLTexture;
  tones: WebGLTexture;
}

interface Look {
  clipFromWorld: number[];
  tangent: number;
  /** Pixels per length at a distance of 1. */
  pixels: number;
  dense: number;
  least: number;
  tint: boolean;
  background: string;
  strength?: number;
}

/** What is on the graphics card. */
interface Loaded {
  grids: Map<number, GridFacts & { motion: boolean; texture: WebGLTexture }>;
  pictures: Map<number, { texture: WebGLTexture }>;
  paths: Map<number, { buffer: WebGLBuffer }>;
  fused: (Omit<FusedFacts, "places" | "paint"> & { places: WebGLBuffer; paint: WebGLBuffer }) | null;
  tracks: Record<string, LineTextures & { count: number; first: number; steps: number }>;
  /** Which tracks these are. */
  trackKey: string | null;
  motion: boolean;
}

interface Window {
  dynapoint: Record<string, any> & { loaded: Promise<void> };
}
