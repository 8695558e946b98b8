"use strict";
const place = document.getElementById("solid");
const surfaces = JSON.parse(document.getElementById("surfaces").textContent);
const hidden = { visible: false };
const outwards = place.dataset.side === "right" ? 1 : -1; // look at the side on which the tumour lies
const layout = {
  margin: { l: 0, r: 0, t: 0, b: 0 },
  paper_bgcolor: "rgba(0,0,0,0)",
  legend: { orientation: "h", y: -0.02, font: { size: 12 } },
  scene: {
    aspectmode: "data",
    xaxis: hidden,
    yaxis: hidden,
    zaxis: hidden,
    camera: { eye: { x: 0.95 * outwards, y: 0.8, z: 0.55 } },
  },
};
// The picture for printing: a browser does not print what a graphics card draws.
Plotly.newPlot(place, surfaces, layout, { displayModeBar: false, responsive: true })
  .then((plot) => Plotly.toImage(plot, { format: "png", width: 560, height: 480, scale: 2 }))
  .then((url) => { document.getElementById("solid-on-paper").src = url; })
  .catch((error) => { place.textContent = "The surfaces cannot be drawn here: " + error.message; });
