function (id, height, option) {
  // What JSON cannot say, and what no chart says for itself.
  const number = v => typeof v === "number" ? String(Number(v.toPrecision(4))) : v;
  option.xAxis.forEach(axis => {
    axis.axisLabel.lineHeight = 14;
    axis.axisPointer = { label: { formatter: at => number(at.value) } };
  });
  Object.assign(option.tooltip, { confine: true, extraCssText: "white-space:pre-line", valueFormatter: number });

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
      chart.setOption(option);
    }).observe(stage);
  }

  const all = () => document.querySelectorAll(`figure[data-chart="${id}"]`).forEach(draw);
  if (window.echarts) all();
  else window.addEventListener("budgetmem:echarts", all, { once: true });
}
