function (packed) {
  if (window.echarts || window.budgetmemEcharts) return;
  window.budgetmemEcharts = "loading";
  const bytes = Uint8Array.from(atob(packed), c => c.charCodeAt(0));
  const plain = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  new Response(plain).text().then(source => {
    // A page with require.js would swallow the library, so the names by which it looks for one are shadowed.
    new Function("define", "module", "exports", source)();
    window.dispatchEvent(new Event("budgetmem:echarts"));
  });
}
