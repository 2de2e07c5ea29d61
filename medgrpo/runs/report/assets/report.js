"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const root = document.documentElement;
  const plots = [...document.querySelectorAll(".plot")];
  const shown = new Set(data.runs.map((_, i) => i));
  const storage = {
    get(key) { try { return localStorage.getItem("medgrpo-" + key); } catch { return null; } },
    set(key, value) { try { localStorage.setItem("medgrpo-" + key, value); } catch { /* a file:// page may have none */ } },
  };
  const language = () => (document.getElementById("lang-zh").checked ? "zh" : "en");
  const isDark = () => {
    if (document.getElementById("theme-dark").checked) return true;
    if (document.getElementById("theme-light").checked) return false;
    return matchMedia("(prefers-color-scheme: dark)").matches;
  };
  let printing = false;
  const tools = {
    smooth: document.getElementById("tool-smooth"), axis: document.getElementById("tool-axis"), log: document.getElementById("tool-log"),
  };
  const zooms = new Map();

  const steps = (x) => (Array.isArray(x) ? x : Array.from({ length: x.count }, (_, i) => x.from + i * x.by));
  const AXES = {
    step: { en: "step", zh: "步" }, prompts: { en: "prompts", zh: "题数" }, time: { en: "hours", zh: "小时" },
  };
  const axis = () => (tools.axis ? tools.axis.value : "step");

  // Steps of a run as prompts or hours; null where its log does not tell.
  function onAxis(run, xs) {
    const kind = axis();
    if (kind === "step") return xs;
    if (kind === "prompts") return run.prompts ? xs.map((x) => x * run.prompts) : null;
    const clock = run.clock;
    if (!clock) return null;
    let place = 0;
    return xs.map((x) => {
      while (place < clock.x.length - 2 && clock.x[place + 1] < x) place += 1;
      const [x0, x1, t0, t1] = [clock.x[place], clock.x[place + 1], clock.h[place], clock.h[place + 1]];
      return x1 === x0 ? t0 : t0 + (t1 - t0) * (x - x0) / (x1 - x0);
    });
  }

  function smoothed(ys, width) {
    const half = Math.floor(width / 2), total = [0];
    for (const y of ys) total.push(total[total.length - 1] + y);
    return ys.map((_, i) => {
      const low = Math.max(0, i - half), high = Math.min(ys.length - 1, i + half) + 1;
      return (total[high] - total[low]) / (high - low);
    });
  }

  function content(chart) {
    const dark = isDark() && !printing;
    const found = { curves: [], bands: [], points: [], lines: [] };
    const share = tools.smooth ? Number(tools.smooth.value) : 4;
    const many = data.runs.length > 8;
    for (const trace of chart.traces) {
      if (!shown.has(trace.run)) continue;
      const run = data.runs[trace.run];
      const colour = dark ? run.dark : run.colour;
      const onStage = chart.group === "stages" && axis() !== "step";
      const x = onStage ? null : onAxis(run, steps(trace.x));
      if (!x) continue;
      const raw = trace.y || trace.lo.map((low, i) => (low + trace.hi[i]) / 2);
      let line = null;
      if (share > 0 && trace.s) line = share === 4 ? trace.s : smoothed(raw, Math.max(3, 2 * Math.round(raw.length * share / 200) + 1));
      if (trace.lo) found.bands.push({ x, lo: trace.lo, hi: trace.hi, colour, faint: many ? 0.1 : 0.2 });
      else found.curves.push({ x, y: trace.y, colour, dash: line ? "solid" : run.dash, width: line ? 1 : 2, faint: line ? (many ? 0.18 : 0.35) : 1, name: line ? null : run.name, marks: !line && trace.n <= 60 });
      if (line || trace.lo) found.curves.push({ x, y: line || raw, colour, dash: run.dash, width: line ? 2.2 : 1, name: run.name });
    }
    for (const point of chart.points || []) {
      if (!shown.has(point.run)) continue;
      const run = data.runs[point.run], x = onAxis(run, [point.x]);
      if (x) found.points.push({ ...point, x: x[0], colour: dark ? run.dark : run.colour });
    }
    for (const line of chart.blind || []) {
      if (!shown.has(line.run)) continue;
      const run = data.runs[line.run];
      found.lines.push({ y: line.y, colour: dark ? run.dark : run.colour, name: language() === "zh" ? "盲猜" : "blind" });
    }
    return found;
  }

  const drawn = new Set();
  function draw(plot) {
    const chart = data.charts[Number(plot.dataset.chart)];
    const dark = isDark() && !printing;
    drawn.add(plot);
    Chart.draw(plot, content(chart), {
      ink: dark ? "#c9d3de" : "#3d4a57", grid: dark ? "#323c48" : "#e6eaee",
      xTitle: AXES[axis()][language()], log: chart.log || (tools.log && tools.log.checked),
      zoomed: (range) => { if (range) zooms.set(plot, range); else zooms.delete(plot); draw(plot); },
    }, zooms.get(plot));
    plot.dataset.drawn = "1";
  }
  const redraw = () => { for (const plot of drawn) draw(plot); };
  if (tools.axis) tools.axis.addEventListener("change", () => { zooms.clear(); redraw(); });
  if (tools.log) tools.log.addEventListener("change", redraw);
  if (tools.smooth) tools.smooth.addEventListener("input", redraw);
  let width = window.innerWidth;
  window.addEventListener("resize", () => { if (window.innerWidth !== width) { width = window.innerWidth; redraw(); } });

  // What a chart shows, as CSV: what is typed into a spreadsheet is never a formula.
  const cell = (value) => {
    const text = typeof value === "string" && /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value);
    return /[",\n]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text;
  };
  function table(chart) {
    const rows = [["run", "step", "prompts", "hours", chart.key, "lowest", "highest"]];
    for (const trace of chart.traces) {
      const run = data.runs[trace.run], xs = steps(trace.x);
      const hours = run.clock ? xs.map((x) => hoursAt(run.clock, x)) : null;
      xs.forEach((x, i) => rows.push([run.name, x, run.prompts ? x * run.prompts : "", hours ? Number(hours[i].toPrecision(6)) : "",
        trace.y ? trace.y[i] : trace.s ? trace.s[i] : "", trace.lo ? trace.lo[i] : "", trace.hi ? trace.hi[i] : ""]));
    }
    return rows.map((row) => row.map(cell).join(",")).join("\n") + "\n";
  }
  function hoursAt(clock, x) {
    let place = 0;
    while (place < clock.x.length - 2 && clock.x[place + 1] < x) place += 1;
    const span = clock.x[place + 1] - clock.x[place];
    return span ? clock.h[place] + (clock.h[place + 1] - clock.h[place]) * (x - clock.x[place]) / span : clock.h[place];
  }
  for (const button of document.querySelectorAll("button[data-csv]")) {
    button.hidden = false;
    button.addEventListener("click", () => {
      const chart = data.charts[Number(button.dataset.csv)];
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob(["\ufeff" + table(chart)], { type: "text/csv" }));
      link.download = `${chart.key.replace(/[^\w.-]+/g, "-")}.csv`;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    });
  }

  // The charts in view are drawn at once, the rest one by one while the browser is idle.
  const idle = window.requestIdleCallback || ((work) => setTimeout(work, 30));
  const waiting = plots.slice();
  const drawNext = () => {
    const plot = waiting.shift();
    if (!plot) { root.dataset.charts = "done"; return; }
    if (!drawn.has(plot)) draw(plot);
    idle(drawNext);
  };
  const observer = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting && !drawn.has(entry.target)) draw(entry.target);
  });
  for (const plot of plots) observer.observe(plot);
  idle(drawNext);

  const restyleVisibility = redraw;
  const boxes = [...document.querySelectorAll(".legend input")];
  for (const box of boxes) {
    box.addEventListener("change", () => {
      const run = Number(box.value);
      if (box.checked) shown.add(run); else shown.delete(run);
      restyleVisibility();
    });
  }
  for (const button of document.querySelectorAll(".legend button")) {
    button.hidden = false;
    button.addEventListener("click", () => {
      const all = button.dataset.all === "1";
      for (const box of boxes) {
        box.checked = all;
        if (all) shown.add(Number(box.value)); else shown.delete(Number(box.value));
      }
      restyleVisibility();
    });
  }

  for (const group of ["lang", "theme"]) {
    const inputs = [...document.querySelectorAll(`input[name="${group}"]`)];
    const kept = inputs.find((input) => input.value === storage.get(group));
    if (kept) kept.checked = true;
    else if (group === "lang" && (navigator.language || "").startsWith("zh")) document.getElementById("lang-zh").checked = true;
    const apply = () => {
      if (group === "lang") root.lang = language();
      redraw();
    };
    for (const input of inputs) {
      input.addEventListener("change", () => { storage.set(group, input.value); apply(); });
    }
    if (group === "lang") root.lang = language();
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  window.addEventListener("beforeprint", () => {
    printing = true;
    for (const plot of plots) draw(plot);
    for (const details of document.querySelectorAll("details")) details.open = true;
  });
  window.addEventListener("afterprint", () => { printing = false; redraw(); });
})();
