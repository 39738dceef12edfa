// Sends what is chosen, has it reconstructed, and goes to the scene's page.

const element = (id) => document.getElementById(id);
const PROMPT = element("listing").textContent;
// What this window waits for, which it goes on with when it is loaded again.
const PENDING = "dynapoint-pending";
let upload = null, busy = false;

function say(words, share) {
  element("work").hidden = !words;
  element("words").textContent = words;
  element("bar").style.width = `${100 * share}%`;
}

function fail(error) {
  say("", 0);
  element("message").textContent = error.message;
  element("message").hidden = false;
}

/** A JSON answer, once it is there. @returns {Promise<object>} */
async function post(path) {
  try {
    const answer = await ask(path, (share, words) => words && say(`${words} …`, share),
      { method: "POST" });
    return await answer.json();
  } catch (error) {
    if (error.status === 404) throw new Error("What was uploaded is gone; please choose it again.");
    throw error;
  }
}

/** Send a file; `fetch` could not tell how far it is. @param {File} file */
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
element("files").addEventListener("change", (event) => {
  add(event.target.files).then(() => { event.target.value = ""; });
});
element("go").addEventListener("click", () => {
  reconstruct(`/uploads/${upload}/reconstruct?frames=${Number(element("frames").value)}`);
});
if (sessionStorage.getItem(PENDING)) reconstruct(sessionStorage.getItem(PENDING));
for (const kind of ["dragover", "drop", "dragleave"]) {
  drop.addEventListener(kind, (event) => {
    event.preventDefault();
    drop.classList.toggle("over", kind === "dragover");
    if (kind === "drop") add(event.dataTransfer.files);
  });
}
// A file dropped beside the box must not replace the page.
for (const kind of ["dragover", "drop"]) {
  window.addEventListener(kind, (event) => event.preventDefault());
}
