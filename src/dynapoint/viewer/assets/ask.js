"use strict";
// Asking the viewer.

// Work that takes a while is asked about so often.
const ASK_AGAIN_MS = 300;

/**
 * An answer, once it is there.
 * @param {string} path @param {Reporter} [report] @param {RequestInit} [options]
 * @returns {Promise<Response>}
 */
async function ask(path, report, options = {}) {
  for (let waited = false; ; waited = true) {
    let answer;
    try {
      answer = await fetch(path, options);
    } catch (cause) {
      throw new Error("The viewer does not answer: is `dynapoint view` still running?", { cause });
    }
    if (answer.status === 202) {
      const { share, words } = await answer.json();
      report?.(share, words);
      await new Promise((done) => setTimeout(done, ASK_AGAIN_MS));
      continue;
    }
    if (waited) report?.(1, "");
    if (!answer.ok) {
      throw Object.assign(new Error((await answer.json()).error), { status: answer.status });
    }
    return answer;
  }
}

