"use strict";
const figure = JSON.parse(document.querySelector('script[type="application/json"]').textContent);
Plotly.newPlot("figure", figure.data, figure.layout, { responsive: true, displaylogo: false });
