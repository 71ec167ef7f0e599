// Oscillators over the oscillator steps. pictures/panel.py says how the bytes lie. Nothing moves before it is asked to;
// for readers who want less motion nothing moves by itself at all: the button moves on by one step.
const still = matchMedia("(prefers-reduced-motion: reduce)");
for (const panel of document.querySelectorAll(".dynamics")) {
  const bytes = (data) => Uint8Array.from(atob(data.slice(data.indexOf(",") + 1)), (letter) => letter.charCodeAt(0));
  const find = (selector) => panel.querySelector(selector);
  const about = JSON.parse(panel.dataset.about);
  const [states, cycle] = [bytes(panel.dataset.states), bytes(panel.dataset.cycle)];
  const [canvas, slider, play, ring] = [find("canvas"), find("input"), find(".play"), find(".site")];
  const perSite = about.dim > 2 ? 4 : 1;
  let [layer, image, timer, site] = [0, 0, null, null];
  let offset = 0;
  for (const one of about.layers) {
    one.offset = offset;
    one.size = one.width * one.height * perSite;
    offset += one.energy.length * one.steps.length * one.size;
  }

  const now = () => about.layers[layer];
  const start = () => now().offset + (image * now().steps.length + Number(slider.value)) * now().size;
  const number = (value) => Number(value.toPrecision(4)).toString();
  const colour = (at) => {
    if (about.dim === 2) return cycle.subarray(3 * states[at], 3 * states[at] + 3);
    return about.dim === 1 ? [states[at], states[at], states[at]] : states.subarray(at, at + 3);
  };
  const given = (x, y) => about.boards?.[image][y * now().stride]?.[x * now().stride];

  function told() {
    const { width, stride } = now();
    const at = start() + (site.y * width + site.x) * perSite;
    const coordinate = (value) => value.toFixed(about.dim === 2 ? 1 : 2); // a phase of 256 levels says no more
    const [row, column] = [site.y * stride, site.x * stride];
    let words = `Row ${row + 1}, column ${column + 1}: `;
    if (about.dim === 1) {
      words += states[at] ? "+1" : "-1";
    } else if (about.dim === 2) {
      const angle = (states[at] / 256) * 2 * Math.PI;
      words += `phase ${Math.round((states[at] / 256) * 360)}°, `;
      words += `x = (${coordinate(Math.cos(angle))}, ${coordinate(Math.sin(angle))})`;
    } else {
      const first = [...states.subarray(at, at + 3)].map((value) => coordinate((2 * value) / 255 - 1));
      words += `${Math.round((states[at + 3] / 255) * 180)}° from the mean direction, x = (${first.join(", ")}`;
      words += about.dim > 3 ? ", ...)" : ")";
    }
    const symbol = given(site.x, site.y);
    return symbol === undefined ? words : `${words}; ${about.words[symbol]}`;
  }

  function draw() {
    const { width, height, steps, energy, order } = now();
    const side = about.boards ? 48 : 1; // pixels of a site: symbols need some
    [canvas.width, canvas.height] = [width * side, height * side];
    const pen = canvas.getContext("2d");
    Object.assign(pen, { font: "bold 28px system-ui, sans-serif", textAlign: "center", textBaseline: "middle" });
    Object.assign(pen, { strokeStyle: "#000000", lineWidth: 6 });
    for (let k = 0; k < width * height; k++) {
      const [x, y] = [k % width, Math.floor(k / width)];
      pen.fillStyle = `rgb(${[...colour(start() + k * perSite)].join()})`;
      pen.fillRect(x * side, y * side, side, side);
      const symbol = about.signs?.[given(x, y)];
      if (!symbol) continue;
      pen.fillStyle = "#ffffff";
      pen.strokeText(symbol, (x + 0.5) * side, (y + 0.5) * side);
      pen.fillText(symbol, (x + 0.5) * side, (y + 0.5) * side);
    }
    const step = steps[slider.value];
    const curve = energy[image];
    const [low, high] = [Math.min(...curve), Math.max(...curve)];
    const place = (k) => [
      52 + (240 * k) / (curve.length - 1), high > low ? 24 + (120 * (high - curve[k])) / (high - low) : 84,
    ];
    find("polyline").setAttribute("points", curve.map((_, k) => place(k).join()).join(" "));
    const [x, y] = place(step);
    for (const end of ["x1", "x2"]) find("line").setAttribute(end, x);
    find("circle").setAttribute("cx", x);
    find("circle").setAttribute("cy", y);
    find(".high").textContent = number(high);
    find(".low").textContent = high > low ? number(low) : "";
    find(".end").textContent = `step ${curve.length - 1}`;
    const where = `step ${step} of ${curve.length - 1}`;
    find("output").textContent =
      `${where}: energy ${number(curve[step])}, order parameter ${order[image][slider.value].toFixed(2)}`;
    slider.setAttribute("aria-valuetext", where);
    ring.hidden = site === null;
    if (site) {
      ring.style.left = `${(100 * (site.x + 0.5)) / width}%`;
      ring.style.top = `${(100 * (site.y + 0.5)) / height}%`;
    }
    find("p").textContent = site ? told() : "Point at a site, tap it or choose it by the arrow keys, to read its phase.";
  }

  function choose(x, y) {
    const { width, height } = now();
    site = { x: Math.max(0, Math.min(width - 1, x)), y: Math.max(0, Math.min(height - 1, y)) };
    draw();
  }

  function select(kind, value) {
    if (kind === "layer") layer = value;
    else image = value;
    for (const button of panel.querySelectorAll(`[data-${kind}]`)) {
      button.setAttribute("aria-pressed", Number(button.dataset[kind]) === value);
    }
    const last = now().steps.length - 1;
    slider.value = Math.min(slider.value, last);
    slider.max = last;
    if (kind === "layer") site = null;
    draw();
  }

  function stop() {
    clearInterval(timer);
    timer = null;
    play.textContent = still.matches ? "Next step" : "Play";
    find("p").setAttribute("aria-live", "polite");
  }

  function toggle() {
    if (timer !== null) return stop();
    const ended = slider.value === slider.max;
    if (still.matches) {
      slider.value = ended ? 0 : Number(slider.value) + 1;
      return draw();
    }
    if (ended) slider.value = 0;
    find("p").setAttribute("aria-live", "off");
    play.textContent = "Pause";
    draw();
    timer = setInterval(() => {
      slider.value = Number(slider.value) + 1;
      draw();
      if (slider.value === slider.max) stop();
    }, now().steps.length > 16 ? 150 : 450);
  }

  slider.addEventListener("input", () => { if (timer !== null) stop(); draw(); });
  play.addEventListener("click", toggle);
  for (const kind of ["layer", "image"]) {
    for (const button of panel.querySelectorAll(`[data-${kind}]`)) {
      button.addEventListener("click", () => { stop(); select(kind, Number(button.dataset[kind])); });
    }
  }
  for (const kind of ["pointermove", "pointerdown"]) {
    canvas.addEventListener(kind, (event) => {
      const box = canvas.getBoundingClientRect();
      const share = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
      choose(Math.floor(share[0] * now().width), Math.floor(share[1] * now().height));
    });
  }
  panel.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const sideways = { ArrowLeft: -1, ArrowRight: 1 }[event.key] ?? 0;
    const down = { ArrowUp: -1, ArrowDown: 1 }[event.key] ?? 0;
    if (event.key === " " && event.target.tagName !== "BUTTON") {
      toggle();
    } else if (event.target === canvas && (sideways || down)) {
      choose((site?.x ?? 0) + (site ? sideways : 0), (site?.y ?? 0) + (site ? down : 0));
    } else if (event.target !== slider && sideways) {
      stop();
      slider.value = Number(slider.value) + sideways;
      draw();
    } else {
      return;
    }
    event.preventDefault();
  });
  still.addEventListener("change", stop);
  panel.hidden = false;
  stop();
  select("image", 0);
}
