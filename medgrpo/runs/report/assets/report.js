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

  const steps = (x) => (Array.isArray(x) ? x : Array.from({ length: x.count }, (_, i) => x.from + i * x.by));
  const escaped = (name) => name.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const faded = (colour, alpha) =>
    colour + Math.round(alpha * 255).toString(16).padStart(2, "0");

  function traces(chart) {
    const dark = isDark() && !printing;
    const list = [];
    for (const trace of chart.traces) {
      const run = data.runs[trace.run];
      const colour = dark ? run.dark : run.colour;
      const name = escaped(run.name);
      const x = steps(trace.x);
      const common = { meta: trace.run, visible: shown.has(trace.run), legendgroup: String(trace.run), type: "scatter" };
      const hover = `%{y:.4~g}<extra>${name}</extra>`;
      const sparse = trace.n <= 60;
      if (trace.lo) {
        const quiet = { hoverinfo: "skip", mode: "lines", line: { width: 0, color: colour } };
        list.push({ ...common, ...quiet, x, y: trace.lo });
        list.push({ ...common, ...quiet, x, y: trace.hi, fill: "tonexty", fillcolor: faded(colour, data.runs.length > 8 ? 0.1 : 0.2) });
      } else {
        const alone = !trace.s;
        list.push({
          ...common, x, y: trace.y, name,
          mode: alone && sparse ? "lines+markers" : "lines",
          marker: { size: 6, color: colour },
          line: { width: alone ? 2 : 1, color: alone ? colour : faded(colour, data.runs.length > 8 ? 0.18 : 0.32), dash: alone ? run.dash : "solid" },
          hovertemplate: hover, hoverinfo: alone ? undefined : "skip",
          ...(alone ? {} : { hovertemplate: undefined }),
        });
      }
      if (trace.s) {
        list.push({ ...common, x, y: trace.s, name, mode: "lines", line: { width: 2.2, color: colour, dash: run.dash }, hovertemplate: hover });
      }
    }
    return list;
  }

  function layout(chart, wide) {
    const style = getComputedStyle(root);
    const dark = isDark() && !printing;
    const ink = dark ? "#c9d3de" : "#3d4a57";
    const grid = dark ? "#323c48" : "#e6eaee";
    const axis = { gridcolor: grid, linecolor: grid, zeroline: false, tickfont: { color: ink }, automargin: true };
    return {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", showlegend: false,
      font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: ink },
      margin: { l: 8, r: 10, t: 8, b: 8 },
      hovermode: data.runs.length <= 8 ? "x unified" : "closest",
      hoverlabel: { bgcolor: dark ? "#12161c" : "#ffffff", bordercolor: grid, font: { color: ink }, namelength: 40 },
      xaxis: { ...axis, title: { text: language() === "zh" ? "步" : "step", font: { size: 11, color: ink }, standoff: 4 }, hoverformat: ",d" },
      yaxis: { ...axis, type: chart.log ? "log" : "linear", tickformat: chart.log ? ".1~e" : undefined, exponentformat: "e" },
      uirevision: "keep",
    };
  }

  const drawn = new Set();
  function draw(plot) {
    const chart = data.charts[Number(plot.dataset.chart)];
    const config = { responsive: true, displaylogo: false, displayModeBar: "hover", modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"] };
    drawn.add(plot);
    return Plotly.react(plot, traces(chart), layout(chart), config).then(() => { plot.dataset.drawn = "1"; });
  }
  const redraw = () => { for (const plot of drawn) draw(plot); };

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

  function restyleVisibility() {
    for (const plot of drawn) {
      Plotly.restyle(plot, { visible: plot.data.map((trace) => shown.has(trace.meta)) });
    }
  }
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
