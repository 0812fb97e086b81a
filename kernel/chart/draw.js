function (id, height, option) {
  // What JSON cannot say, and what no chart says for itself.
  const number = v => typeof v === "number" ? String(Number(v.toPrecision(4))) : v;
  option.xAxis.forEach(axis => {
    axis.axisLabel.lineHeight = 14;
    axis.axisPointer = { label: { formatter: at => number(at.value) } };
  });
  Object.assign(option.tooltip, { confine: true, extraCssText: "white-space:pre-line", valueFormatter: number });

  // A page that declares the colour scheme "dark" gets dark charts where the reader prefers them.
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const inDark = { "#fff": "#1b1b1b", "#333333": "#dddddd", "#000000": "#ffffff", "#0072B2": "#4aa3df", "#808080": "#9a9a9a" };
  const themed = () => {
    if (!dark.matches || !getComputedStyle(document.documentElement).colorScheme.includes("dark")) return option;
    const own = JSON.parse(JSON.stringify(option), (_, v) => inDark[v] || v);
    const faint = { lineStyle: { color: "#3a3a3a" } };
    [own.xAxis, own.yAxis].flat().forEach(axis => Object.assign(axis, { splitLine: faint, nameTextStyle: { color: "#dddddd" } }));
    own.legend.textStyle = { color: "#dddddd" };
    own.tooltip.backgroundColor = "#2a2a2a";
    own.tooltip.textStyle = { color: "#dddddd" };
    own.tooltip.valueFormatter = option.tooltip.valueFormatter;
    own.xAxis.forEach((axis, i) => axis.axisPointer = option.xAxis[i].axisPointer);
    return own;
  };

  function draw(figure) {
    if (figure.dataset.drawn) return;
    figure.dataset.drawn = "yes";
    const still = figure.querySelector("img"), stage = figure.querySelector("div");
    let chart;
    // A figure in a hidden tab has no width yet, and one that is resized a new one.
    new ResizeObserver(() => {
      if (!stage.clientWidth) return;
      if (chart) return chart.resize();
      stage.style.height = height + "px";
      still.style.display = "none";
      chart = echarts.init(stage, null, { renderer: "canvas" });
      chart.setOption(themed());
    }).observe(stage);
    dark.addEventListener("change", () => chart && chart.setOption(themed(), true));
  }

  const all = () => document.querySelectorAll(`figure[data-chart="${id}"]`).forEach(draw);
  if (window.echarts) all();
  else window.addEventListener("budgetmem:echarts", all, { once: true });
}
