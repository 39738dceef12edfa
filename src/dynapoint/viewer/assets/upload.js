// Sends what is chosen, has it reconstructed, and goes to the scene's page.

/** An element that the page has, of whatever kind. @param {string} id @returns {any} */
const element = (id) => document.getElementById(id);
const PROMPT = element("listing").textContent;
// What this window waits for, which it goes on with when it is loaded again.
const PENDING = "dynapoint-pending";
/** @type {string | null} */
let upload = null;
let busy = false;

/** @param {string} words @param {number} share */
function say(words, share) {
  element("work").hidden = !words;
  element("words").textContent = words;
  element("bar").style.width = `${100 * share}%`;
}

/** @param {any} error */
function fail(error) {
  say("", 0);
  element("message").textContent = error.message;
  element("message").hidden = false;
}

/** A JSON answer, once it is there. @param {string} path @returns {Promise<any>} */
async function post(path) {
  try {
    const answer = await ask(path, (share, words) => words && say(`${words} …`, share),
      { method: "POST" });
    return await answer.json();
  } catch (cause) {
    if (/** @type {{status?: number}} */ (cause).status !== 404) throw cause;
    throw new Error("What was uploaded is gone; please choose it again.", { cause });
  }
}

/**
 * Send a file; `fetch` could not tell how far it is.
 * @param {string} path @param {File} file @returns {Promise<any>}
 */
function send(path, file) {
  return new Promise((done, refuse) => {
    const request = new XMLHttpRequest();
    request.open("POST", path);
    request.upload.onprogress = ({ loaded, total }) => say(`Sending ${file.name} …`, loaded / total);
    request.onerror = () => refuse(new Error("The viewer does not answer: is `dynapoint view` "
      + "still running, and is there room for the file?"));
    request.onload = () => {
      const content = JSON.parse(request.responseText);
      if (request.status === 200) done(content);
      else refuse(new Error(content.error));
    };
    request.send(file);
  });
}

/** @param {FileList} files */
async function add(files) {
  if (busy || !files.length) return;
  busy = true;
  element("go").disabled = true;
  element("message").hidden = true;
  try {
    if (files.length > 1 && [...files].some((file) => file.type.startsWith("video/"))) {
      throw new Error("A video is a scene of its own: choose one video, or images.");
    }
    upload ??= (await post("/uploads")).upload;
    // Names in the order in which people count.
    const sorted = [...files].sort((a, b) => a.name.localeCompare(b.name, "en", { numeric: true }));
    for (const file of sorted) {
      const { words } = await send(`/uploads/${upload}/files?name=${encodeURIComponent(file.name)}`, file);
      element("listing").textContent = `Ready: ${words}`;
    }
    say("", 0);
    element("go").disabled = false;
  } catch (error) {
    upload = null;
    element("listing").textContent = PROMPT;
    fail(error);
  } finally {
    busy = false;
  }
}

/** @param {string} path what to ask for */
async function reconstruct(path) {
  busy = true;
  element("go").disabled = true;
  element("message").hidden = true;
  say("Waiting …", 0);
  try {
    sessionStorage.setItem(PENDING, path);
    const { scene } = await post(path);
    sessionStorage.removeItem(PENDING);
    location.assign(scene);
  } catch (error) {
    sessionStorage.removeItem(PENDING);
    fail(error);
    element("go").disabled = !upload;
  } finally {
    busy = false;
  }
}

const drop = element("drop");
element("files").addEventListener("change", (/** @type {any} */ event) => {
  add(event.target.files).then(() => { event.target.value = ""; });
});
element("go").addEventListener("click", () => {
  reconstruct(`/uploads/${upload}/reconstruct?frames=${Number(element("frames").value)}`);
});
const pending = sessionStorage.getItem(PENDING);
if (pending) reconstruct(pending);
for (const kind of ["dragover", "drop", "dragleave"]) {
  drop.addEventListener(kind, (/** @type {DragEvent} */ event) => {
    event.preventDefault();
    drop.classList.toggle("over", kind === "dragover");
    if (kind === "drop") add(/** @type {DataTransfer} */ (event.dataTransfer).files);
  });
}
// A file dropped beside the box must not replace the page.
for (const kind of ["dragover", "drop"]) {
  window.addEventListener(kind, (event) => event.preventDefault());
}
