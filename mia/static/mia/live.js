// The live network page: follows /ws/network/ and changes what is shown in place, miner by miner.
const page = document.getElementById("network");
const FIRST_RETRY_MS = 1000;
const LONGEST_RETRY_MS = 15000;
const STALE_AFTER_MS = 5000;
const CHART_EVERY_MS = 10000;
const HOUR_MS = 3600 * 1000;
const REFUSED = 1008;
const STATUS_TONES = { idle: "good", busy: "info", draining: "warn", paused: "warn", offline: "neutral" };

const read = (id) => JSON.parse(document.getElementById(id).textContent);
const put = (element, text) => {
  if (element && element.textContent !== text) element.textContent = text;
};
const whole = new Intl.NumberFormat("en");
const span = (ms) => {
  if (ms === null || ms === undefined) return "–";
  if (ms < 1000) return `${Math.round(ms)} ms`;
  return ms < 60000 ? `${(ms / 1000).toFixed(ms < 10000 ? 1 : 0)} s` : `${Math.round(ms / 60000)} min`;
};
const ago = (ms) => {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 1) return "now";
  return seconds < 60 ? `${seconds} s ago` : `${Math.floor(seconds / 60)} min ago`;
};
const short = (number) => (number >= 1e6 ? `${(number / 1e6).toFixed(1)} M` : whole.format(number));

// --- Figures

const figures = new Map([...page.querySelectorAll("[data-figure]")].map((element) => [element.dataset.figure, element]));
const showFigures = (snapshot) => {
  for (const name of ["online", "idle", "busy", "running", "queued_chat", "queued_api", "queued_idle"]) {
    put(figures.get(name), whole.format(snapshot[name]));
  }
  put(figures.get("tokens_per_second"), snapshot.tokens_per_second.toFixed(1));
  for (const [name, ms] of Object.entries(snapshot.latency)) put(figures.get(name), span(ms));
};

// --- Miners

const table = page.querySelector("[data-miners]");
const empty = page.querySelector("[data-empty]");
const body = table.querySelector("tbody");
const rows = new Map();

const makeRow = (id) => {
  const element = document.getElementById("miner-row").content.firstElementChild.cloneNode(true);
  const cells = Object.fromEntries([...element.querySelectorAll("[data-cell]")].map((cell) => [cell.dataset.cell, cell]));
  element.dataset.minerId = id;
  cells.name.href = `${page.dataset.minersUrl}${id}/change/`;
  return { element, cells, chip: element.querySelector(".mia-chip"), jobs: "", slots: "" };
};

const showJobs = (row, jobs) => {
  const key = jobs.join();
  if (row.jobs === key) return;
  row.jobs = key;
  row.cells.jobs.replaceChildren(
    ...jobs.map((job) => {
      const link = document.createElement("a");
      link.className = "mia-chip";
      link.dataset.tone = "info";
      link.href = `${page.dataset.jobsUrl}?q=${encodeURIComponent(job)}`;
      link.textContent = job;
      return link;
    }),
  );
};

const showSlots = (row, used, slots) => {
  const key = `${used}/${slots}`;
  if (row.slots === key) return;
  row.slots = key;
  put(row.cells.slots, key);
  row.cells.meter.style.width = `${Math.min(100, (100 * used) / Math.max(slots, 1))}%`;
};

const showMiner = (row, miner) => {
  put(row.cells.name, miner.name);
  put(row.cells.gpu, miner.gpu);
  put(row.cells.model, miner.model);
  row.cells.model.title = miner.model;
  put(row.cells.status, miner.status);
  row.chip.dataset.tone = STATUS_TONES[miner.status] ?? "neutral";
  put(row.cells.trust, miner.trust);
  showSlots(row, miner.slots - miner.slots_free, miner.slots);
  showJobs(row, miner.jobs);
  put(row.cells.tokens_per_second, miner.tokens_per_second.toFixed(1));
  put(row.cells.job_count, whole.format(miner.job_count));
  put(row.cells.total_tokens_generated, short(miner.total_tokens_generated));
  row.heardAt = miner.last_active ? Date.parse(miner.last_active) : null;
};

const showMiners = (miners) => {
  const present = new Set(miners.map((miner) => miner.id));
  for (const [id, row] of rows) {
    if (present.has(id)) continue;
    row.element.remove();
    rows.delete(id);
  }
  miners.forEach((miner, place) => {
    if (!rows.has(miner.id)) rows.set(miner.id, makeRow(miner.id));
    const row = rows.get(miner.id);
    showMiner(row, miner);
    if (body.children[place] !== row.element) body.insertBefore(row.element, body.children[place] ?? null);
  });
  table.hidden = miners.length === 0;
  empty.hidden = miners.length > 0;
};

// --- Charts

const samples = read("network-history");
const LINES = {
  tokens: ["tokens_per_second"],
  queue: ["queued_chat", "queued_api", "queued_idle"],
  latency: ["first_token_p50_ms", "first_token_p95_ms", "start_p50_ms", "start_p95_ms"],
};
const clock = (ms) => new Date(ms).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const points = (field) => samples.map((sample) => ({ x: sample.at, y: sample[field] }));

const makeChart = (canvas) => {
  const kind = canvas.dataset.chart;
  const labels = canvas.dataset.labels.split("|");
  const format = kind === "latency" ? span : (value) => short(Math.round(value * 10) / 10);
  return new Chart(canvas, {
    type: "line",
    data: {
      datasets: LINES[kind].map((field, number) => ({
        field,
        label: labels[number],
        data: points(field),
        borderWidth: 2,
        pointRadius: 0,
        pointHitRadius: 12,
        tension: 0.25,
        spanGaps: 60000,
        fill: LINES[kind].length === 1 ? "origin" : false,
      })),
    },
    options: {
      animation: false,
      responsive: true,
      maintainAspectRatio: false,
      interaction: { mode: "index", intersect: false },
      plugins: {
        legend: { display: labels.length > 1, position: "bottom", labels: { boxWidth: 8, boxHeight: 8, usePointStyle: true, pointStyle: "circle", padding: 10 } },
        tooltip: {
          callbacks: {
            title: (items) => (items.length ? new Date(items[0].parsed.x).toLocaleTimeString() : ""),
            label: (item) => `${item.dataset.label}: ${format(item.parsed.y)}`,
          },
        },
      },
      scales: {
        x: { type: "linear", ticks: { maxTicksLimit: 5, maxRotation: 0, callback: clock }, grid: { display: false } },
        y: { beginAtZero: true, suggestedMax: kind === "latency" ? 1000 : 4, ticks: { maxTicksLimit: 5, callback: format }, border: { display: false } },
      },
    },
  });
};

const paint = (chart) => {
  chart.data.datasets.forEach((line, number) => {
    line.borderColor = colour(`--mia-series-${number + 1}`);
    line.backgroundColor = `${line.borderColor}22`;
    line.pointBackgroundColor = line.borderColor;
  });
  const soft = document.documentElement.classList.contains("dark") ? "#9ca3af" : "#6b7280";
  for (const axis of Object.values(chart.options.scales)) axis.ticks.color = soft;
  chart.options.scales.y.grid = { color: document.documentElement.classList.contains("dark") ? "#374151" : "#e5e7eb" };
  chart.options.plugins.legend.labels.color = soft;
  chart.update();
};

Chart.defaults.font.family = "Inter, sans-serif";
Chart.defaults.font.size = 11;
const charts = [...page.querySelectorAll("canvas[data-chart]")].map(makeChart);
const showHour = (now) => {
  while (samples.length && samples[0].at < now - HOUR_MS) samples.shift();
  for (const chart of charts) {
    for (const line of chart.data.datasets) line.data = points(line.field);
    chart.options.scales.x.min = now - HOUR_MS;
    chart.options.scales.x.max = now;
    chart.update();
  }
};
const addSample = (snapshot) => {
  const at = Date.parse(snapshot.at);
  if (samples.length && at - samples.at(-1).at < CHART_EVERY_MS * 0.9) return;
  samples.push({ ...snapshot, ...snapshot.latency, at, miners: undefined });
  showHour(at);
};
const repaint = () => charts.forEach(paint);
new MutationObserver(repaint).observe(document.documentElement, { attributeFilter: ["class"] });
repaint();
showHour(samples.at(-1)?.at ?? Date.now());

// --- What the clocks say: the server's, carried on by how long ago its last word came

let serverTime = null;
let heardAt = 0;
const show = (snapshot) => {
  serverTime = Date.parse(snapshot.at);
  heardAt = performance.now();
  showFigures(snapshot);
  showMiners(snapshot.miners);
  addSample(snapshot);
};

const stateElement = page.querySelector("[data-state]");
const stateText = page.querySelector("[data-live-text]");
const setState = (state, values = {}) => {
  stateElement.dataset.state = state;
  const text = Object.entries(values).reduce((whole_, [name, value]) => whole_.replace(`{${name}}`, value), stateText.dataset[state]);
  put(stateText, text);
  page.classList.toggle("mia-is-frozen", state === "lost" || state === "refused" || state === "stale");
};

// --- The socket

let socket = null;
let retryMs = FIRST_RETRY_MS;
let retryAt = null;
let isRefused = false;

const connect = () => {
  retryAt = null;
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  socket = new WebSocket(`${scheme}://${location.host}/ws/network/`);
  socket.addEventListener("message", (event) => {
    const message = JSON.parse(event.data);
    if (message.type !== "snapshot") return;
    retryMs = FIRST_RETRY_MS;
    show(message.snapshot);
    setState("live");
  });
  socket.addEventListener("close", (event) => {
    isRefused = event.code === REFUSED;
    if (isRefused) {
      setState("refused", { reason: event.reason });
      stateElement.dataset.state = "lost";
      return;
    }
    retryAt = performance.now() + retryMs * (0.8 + Math.random() * 0.4);
    retryMs = Math.min(retryMs * 2, LONGEST_RETRY_MS);
    tick();
  });
};

const connectNow = () => {
  if (isRefused || socket?.readyState === WebSocket.CONNECTING || socket?.readyState === WebSocket.OPEN) return;
  connect();
};

const tick = () => {
  const now = performance.now();
  if (retryAt !== null) {
    if (now >= retryAt) connect();
    else setState("lost", { seconds: Math.ceil((retryAt - now) / 1000) });
  } else if (socket?.readyState === WebSocket.OPEN) {
    const silentMs = heardAt ? now - heardAt : 0;
    if (heardAt && silentMs > STALE_AFTER_MS) setState("stale", { seconds: Math.round(silentMs / 1000) });
  }
  if (serverTime === null) return;
  const serverNow = serverTime + (now - heardAt);
  for (const row of rows.values()) put(row.cells.heard, row.heardAt === null ? "–" : ago(serverNow - row.heardAt));
  put(page.querySelector("[data-clock]"), new Date(serverNow).toLocaleTimeString());
};

const first = read("network-snapshot");
if (first) show(first);
else showMiners([]);
connect();
setInterval(tick, 500);
addEventListener("online", connectNow);
document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && connectNow());
