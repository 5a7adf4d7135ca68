// Shows the values of a chart at the pointer, or at the place that the arrow keys move to.
(() => {
  "use strict";
  const tip = document.getElementById("tip");

  function line(chart, text, colour) {
    const row = document.createElement(colour ? "div" : "b");
    if (colour) {
      const mark = document.createElement("i");
      mark.className = "c" + colour;
      row.append(mark);
    }
    row.append(text);
    return row;
  }

  function show(chart, data, index) {
    const frame = chart.getBoundingClientRect();
    const scale = frame.width / chart.viewBox.baseVal.width;
    const cross = chart.querySelector(".cross");
    cross.setAttribute("x1", data.px[index]);
    cross.setAttribute("x2", data.px[index]);
    chart.classList.add("on");
    const rows = data.lines
      .filter((entry) => entry.text[index] !== "–")
      .map((entry) => line(chart, entry.name + ": " + entry.text[index], entry.c));
    tip.replaceChildren(line(chart, data.at[index]), ...rows);
    tip.hidden = false;
    const x = frame.left + data.px[index] * scale;
    const room = document.documentElement.clientWidth - tip.offsetWidth - 8;
    tip.style.left = Math.max(8, x + 14 > room ? Math.min(room, x - tip.offsetWidth - 14) : x + 14) + "px";
    tip.style.top = Math.max(8, frame.top + 24 * scale) + "px";
  }

  function hide(chart) {
    chart.classList.remove("on");
    tip.hidden = true;
  }

  function nearest(values, wanted) {
    let best = 0;
    values.forEach((value, index) => {
      if (Math.abs(value - wanted) < Math.abs(values[best] - wanted)) best = index;
    });
    return best;
  }

  for (const chart of document.querySelectorAll("svg.chart")) {
    const data = JSON.parse(chart.dataset.chart);
    let index = data.px.length - 1;
    chart.addEventListener("pointermove", (event) => {
      const frame = chart.getBoundingClientRect();
      index = nearest(data.px, ((event.clientX - frame.left) * chart.viewBox.baseVal.width) / frame.width);
      show(chart, data, index);
    });
    chart.addEventListener("pointerleave", () => hide(chart));
    chart.addEventListener("blur", () => hide(chart));
    chart.addEventListener("keydown", (event) => {
      const move = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
      if (move === undefined) return;
      event.preventDefault();
      index = Math.min(data.px.length - 1, Math.max(0, index + move));
      show(chart, data, index);
    });
  }
  document.documentElement.dataset.ready = "true";
})();
