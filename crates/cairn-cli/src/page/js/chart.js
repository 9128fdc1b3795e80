// Charts: drawn when they come into sight, and again when the colours of the system change.

const PALETTE = ["#2f62a8", "#b3620f", "#1f7a5c", "#a0447a", "#6f55b5", "#66761d", "#ad3f2f", "#22789b"];
const OTHERS = "#6b7280";
const RAMP = ["#3a6ea5", "#2f8f8f", "#6a9a3c", "#b58a1e", "#b8532a"];
const dark = matchMedia("(prefers-color-scheme: dark)");
const still = matchMedia("(prefers-reduced-motion: reduce)");

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** The chart in an element; `option` says what it shows now, `about` what a reader hears of it. */
function chart(place, about, option, clicked) {
  let drawn = null;
  place.setAttribute("role", "img");
  place.setAttribute("aria-label", about);
  function draw() {
    if (!drawn) return;
    const common = {
      animation: !still.matches,
      animationDuration: 250,
      textStyle: { fontFamily: getComputedStyle(document.body).fontFamily, color: colour("--ink") },
      aria: { enabled: true, label: { description: about } },
      // Rich text is drawn on the canvas: no markup is made of what it says.
      tooltip: {
        renderMode: "richText",
        confine: true,
        backgroundColor: colour("--panel"),
        borderColor: colour("--line"),
        textStyle: { color: colour("--ink"), fontSize: 13 },
      },
    };
    drawn.setOption({ ...common, ...option(), tooltip: { ...common.tooltip, ...option().tooltip } }, { notMerge: true });
    place.setAttribute("aria-label", about);
  }
  const seen = new IntersectionObserver((entries) => {
    if (drawn || !entries.some((entry) => entry.isIntersecting)) return;
    drawn = charts.init(place, null, { renderer: "canvas" });
    if (clicked) drawn.on("click", clicked);
    draw();
    new ResizeObserver(() => drawn.resize()).observe(place);
  }, { rootMargin: "200px" });
  seen.observe(place);
  dark.addEventListener("change", draw);
  return { draw };
}

/** Text that a chart shows; its own marks of rich text are taken out. */
const plainText = (text) => String(text).replaceAll("{", "(").replaceAll("}", ")").replaceAll("|", "¦");

/** Axes of a chart of bars or a line. */
function axes(names, format) {
  const line = { lineStyle: { color: colour("--line") } };
  const label = { color: colour("--dim"), fontSize: 12 };
  return {
    grid: { left: 8, right: 12, top: 16, bottom: 8, containLabel: true },
    xAxis: { type: "category", data: names, axisLine: line, axisTick: { show: false }, axisLabel: { ...label, hideOverlap: true } },
    yAxis: { type: "value", splitLine: line, axisLabel: { ...label, formatter: format }, splitNumber: 3 },
  };
}
