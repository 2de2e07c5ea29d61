"use strict";
// One chart as SVG: axes, curves, bands, points with intervals; what is under the pointer; zoom by dragging.
const Chart = (() => {
  const NS = "http://www.w3.org/2000/svg";
  const make = (name, attributes, parent) => {
    const node = document.createElementNS(NS, name);
    for (const key in attributes) node.setAttribute(key, attributes[key]);
    if (parent) parent.appendChild(node);
    return node;
  };
  const shortNumber = (value) => {
    const size = Math.abs(value);
    if (size === 0) return "0";
    if (size >= 1e6 || size < 1e-3) return value.toExponential(1).replace("e+", "e").replace(".0e", "e");
    if (size >= 1000) return Math.round(value).toLocaleString("en-US");
    return String(Number(value.toPrecision(4)));
  };
  const niceTicks = (low, high, count) => {
    const rough = (high - low) / Math.max(1, count);
    const power = Math.pow(10, Math.floor(Math.log10(rough)));
    const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough * 0.999) || 10 * power;
    const ticks = [];
    for (let tick = Math.ceil(low / step - 1e-9) * step; tick <= high + step * 1e-9; tick += step) {
      ticks.push(Math.abs(tick) < step * 1e-9 ? 0 : tick);
    }
    return ticks;
  };
  const logTicks = (low, high) => {
    const ticks = [];
    const from = Math.floor(Math.log10(low)), to = Math.ceil(Math.log10(high));
    const every = Math.max(1, Math.ceil((to - from) / 6));
    for (let power = from; power <= to; power += every) ticks.push(Math.pow(10, power));
    const inside = ticks.filter((tick) => tick >= low * 0.999 && tick <= high * 1.001);
    return inside.length > 1 ? inside : niceTicks(low, high, 4).filter((tick) => tick > 0);
  };

  // curves: [{x, y, colour, dash, width, faint, name}], bands: [{x, lo, hi, colour}], points: [{x, y, low, high, colour, name}],
  // lines: [{y, colour, name}]. look: {ink, grid, paper, xTitle, log, label}
  function draw(holder, content, look, zoom) {
    const width = Math.max(220, holder.clientWidth), height = Math.max(120, holder.clientHeight);
    holder.textContent = "";
    const svg = make("svg", { class: "chart", viewBox: `0 0 ${width} ${height}`, width, height, "aria-hidden": "true" });
    let xLow = Infinity, xHigh = -Infinity, yLow = Infinity, yHigh = -Infinity;
    const usable = (y) => Number.isFinite(y) && (!look.log || y > 0);
    const inside = (x) => !zoom || (x >= zoom[0] && x <= zoom[1]);
    const see = (x, ...ys) => {
      if (!inside(x)) return;
      xLow = Math.min(xLow, x); xHigh = Math.max(xHigh, x);
      for (const y of ys) if (usable(y)) { yLow = Math.min(yLow, y); yHigh = Math.max(yHigh, y); }
    };
    for (const curve of content.curves) curve.x.forEach((x, i) => see(x, curve.y[i]));
    for (const band of content.bands) band.x.forEach((x, i) => see(x, band.lo[i], band.hi[i]));
    for (const point of content.points) see(point.x, point.y, point.low, point.high);
    if (!Number.isFinite(xLow)) { xLow = 0; xHigh = 1; }
    for (const line of content.lines) if (usable(line.y)) { yLow = Math.min(yLow, line.y); yHigh = Math.max(yHigh, line.y); }
    if (!Number.isFinite(yLow)) { yLow = look.log ? 0.1 : 0; yHigh = 1; }
    if (zoom) { xLow = zoom[0]; xHigh = zoom[1]; }
    if (xHigh === xLow) { xLow -= 1; xHigh += 1; }
    if (content.points.length && !zoom) { const room = (xHigh - xLow) * 0.02; xLow -= room; xHigh += room; }
    if (look.log) { yLow /= 1.15; yHigh *= 1.15; }
    else {
      const room = (yHigh - yLow) * 0.06 || Math.abs(yHigh) * 0.1 || 0.5;
      yLow -= room; yHigh += room;
    }
    const ticks = look.log ? logTicks(yLow, yHigh) : niceTicks(yLow, yHigh, height / 45);
    const left = 10 + 6.6 * Math.max(2, ...ticks.map((tick) => shortNumber(tick).length)), right = width - 10;
    const top = 8, bottom = height - 34;
    const px = (x) => left + (right - left) * (x - xLow) / (xHigh - xLow);
    const log = Math.log10;
    const py = look.log
      ? (y) => bottom - (bottom - top) * (log(y) - log(yLow)) / (log(yHigh) - log(yLow))
      : (y) => bottom - (bottom - top) * (y - yLow) / (yHigh - yLow);
    const words = { fill: look.ink, "font-size": 11 };
    for (const tick of ticks) {
      const y = py(tick);
      make("line", { x1: left, x2: right, y1: y, y2: y, stroke: look.grid }, svg);
      make("text", { x: left - 5, y: y + 4, "text-anchor": "end", ...words }, svg).textContent = shortNumber(tick);
    }
    for (const tick of niceTicks(xLow, xHigh, width / 90)) {
      const x = px(tick);
      make("line", { x1: x, x2: x, y1: bottom, y2: bottom + 4, stroke: look.ink }, svg);
      make("text", { x, y: bottom + 16, "text-anchor": "middle", ...words }, svg).textContent = shortNumber(tick);
    }
    make("line", { x1: left, x2: right, y1: bottom, y2: bottom, stroke: look.ink }, svg);
    make("text", { x: (left + right) / 2, y: height - 4, "text-anchor": "middle", ...words }, svg).textContent = look.xTitle;
    const clip = `c${Math.random().toString(36).slice(2)}`;
    make("rect", { x: left, y: top - 4, width: right - left, height: bottom - top + 8 }, make("clipPath", { id: clip }, make("defs", {}, svg)));
    const body = make("g", { "clip-path": `url(#${clip})` }, svg);
    const path = (xs, ys) => {
      let text = "", pen = false;
      for (let i = 0; i < xs.length; i += 1) {
        if (!usable(ys[i])) { pen = false; continue; }
        text += `${pen ? "L" : "M"}${px(xs[i]).toFixed(1)},${py(ys[i]).toFixed(1)}`;
        pen = true;
      }
      return text;
    };
    for (const band of content.bands) {
      const keep = band.x.map((_, i) => i).filter((i) => usable(band.lo[i]) && usable(band.hi[i]));
      const there = keep.map((i) => `${px(band.x[i]).toFixed(1)},${py(band.hi[i]).toFixed(1)}`);
      const back = keep.reverse().map((i) => `${px(band.x[i]).toFixed(1)},${py(band.lo[i]).toFixed(1)}`);
      make("path", { class: "band", d: `M${there.concat(back).join("L")}Z`, fill: band.colour, opacity: band.faint }, body);
    }
    const dashes = { solid: "", dash: "8 4", dot: "2 3", dashdot: "8 3 2 3" };
    for (const line of content.lines) {
      if (!usable(line.y)) continue;
      make("line", { class: "blind", x1: left, x2: right, y1: py(line.y), y2: py(line.y), stroke: line.colour, "stroke-dasharray": "3 4" }, body);
      make("text", { x: right - 2, y: py(line.y) - 4, "text-anchor": "end", fill: look.ink, "font-size": 10 }, body).textContent = line.name;
    }
    for (const curve of content.curves) {
      make("path", {
        class: "line", d: path(curve.x, curve.y), fill: "none", stroke: curve.colour, "stroke-width": curve.width,
        opacity: curve.faint || 1, "stroke-dasharray": dashes[curve.dash] || "", "stroke-linejoin": "round",
      }, body);
      if (curve.marks) curve.x.forEach((x, i) => { if (usable(curve.y[i])) make("circle", { cx: px(x), cy: py(curve.y[i]), r: 3, fill: curve.colour }, body); });
    }
    for (const point of content.points) {
      if (!usable(point.y)) continue;
      if (usable(point.low) && usable(point.high)) {
        make("line", { class: "interval", x1: px(point.x), x2: px(point.x), y1: py(point.low), y2: py(point.high), stroke: point.colour, "stroke-width": 2 }, body);
      }
      make("circle", { cx: px(point.x), cy: py(point.y), r: 4, fill: point.colour }, body);
    }
    holder.appendChild(svg);
    listen(holder, svg, content, look, { left, right, top, bottom, px, py, xLow, xHigh, usable });
  }

  function listen(holder, svg, content, look, at) {
    const tip = document.createElement("div");
    tip.className = "tip"; tip.hidden = true;
    holder.appendChild(tip);
    const cursor = make("line", { y1: at.top, y2: at.bottom, stroke: look.ink, "stroke-dasharray": "2 2", visibility: "hidden" }, svg);
    const chosen = make("rect", { y: at.top, height: at.bottom - at.top, fill: look.ink, opacity: 0.12, width: 0 }, svg);
    const toX = (event) => {
      const box = svg.getBoundingClientRect();
      const inner = (event.clientX - box.left) * svg.viewBox.baseVal.width / box.width;
      return at.xLow + (Math.min(at.right, Math.max(at.left, inner)) - at.left) / (at.right - at.left) * (at.xHigh - at.xLow);
    };
    const nearest = (xs, x) => {
      let low = 0, high = xs.length - 1;
      while (high - low > 1) { const middle = (low + high) >> 1; if (xs[middle] < x) low = middle; else high = middle; }
      return Math.abs(xs[low] - x) <= Math.abs(xs[high] - x) ? low : high;
    };
    let from = null;
    svg.addEventListener("pointerdown", (event) => { from = toX(event); });
    svg.addEventListener("pointermove", (event) => {
      const x = toX(event);
      if (from !== null) {
        const a = Math.min(at.px(from), at.px(x)), b = Math.max(at.px(from), at.px(x));
        chosen.setAttribute("x", a); chosen.setAttribute("width", b - a);
      }
      const named = content.curves.filter((curve) => curve.name && curve.x.length).slice(0, 12);
      if (!named.length) return;
      const lines = named.map((curve) => [curve, nearest(curve.x, x)]);
      const place = lines[0][0].x[lines[0][1]];
      cursor.setAttribute("x1", at.px(place)); cursor.setAttribute("x2", at.px(place)); cursor.setAttribute("visibility", "visible");
      tip.textContent = `${look.xTitle} ${shortNumber(place)}`;
      for (const [curve, i] of lines) {
        const row = document.createElement("div"), key = document.createElement("i");
        key.style.background = curve.colour;
        row.append(key, `${curve.name}: ${shortNumber(curve.y[i])}`);
        tip.appendChild(row);
      }
      tip.hidden = false;
      const share = (at.px(place) - at.left) / (at.right - at.left);
      tip.style.left = share > 0.5 ? "auto" : `${at.px(place) + 12}px`;
      tip.style.right = share > 0.5 ? `${svg.clientWidth - at.px(place) + 12}px` : "auto";
    });
    svg.addEventListener("pointerup", (event) => {
      const to = toX(event), begin = from;
      from = null; chosen.setAttribute("width", 0);
      if (begin !== null && Math.abs(at.px(to) - at.px(begin)) > 8) look.zoomed([Math.min(begin, to), Math.max(begin, to)]);
    });
    svg.addEventListener("pointerleave", () => { tip.hidden = true; from = null; chosen.setAttribute("width", 0); cursor.setAttribute("visibility", "hidden"); });
    svg.addEventListener("dblclick", () => look.zoomed(null));
  }
  return { draw };
})();
