"use strict";
// The panels become tabs (WAI-ARIA, "Tabs Pattern": arrows, Home and End), and figures are drawn when first seen.
const nav = document.querySelector("nav");
const tabs = Array.from(nav.querySelectorAll("a"));
const panels = tabs.map((tab) => document.getElementById(tab.hash.slice(1)));
const text = (id) => document.getElementById(id)?.textContent;

function draw(panel) {
  if (!text("plotly")) return;
  for (const place of panel.querySelectorAll("div.plot")) {
    const figure = place.nextElementSibling.textContent;
    const frame = document.createElement("iframe");
    frame.className = "plot";
    frame.setAttribute("sandbox", "allow-scripts");
    frame.title = "Figure";
    frame.style.height = place.style.height;
    frame.srcdoc =
      '<!doctype html><meta charset="utf-8"><style>html,body,#figure{margin:0;height:100%;background:#fff}</style>' +
      '<div id="figure"></div><script>' + text("plotly") + '</' + 'script><script type="application/json">' + figure +
      '</' + 'script><script>' + text("plot") + '</' + 'script>';
    place.replaceWith(frame);
  }
}

function show(chosen) {
  tabs.forEach((tab, number) => {
    tab.setAttribute("aria-selected", String(number === chosen));
    tab.tabIndex = number === chosen ? 0 : -1;
    panels[number].hidden = number !== chosen;
  });
  draw(panels[chosen]);
  tabs[chosen].scrollIntoView({ block: "nearest", inline: "nearest" });
}

const KEYS = {
  ArrowRight: (number) => (number + 1) % tabs.length,
  ArrowLeft: (number) => (number + tabs.length - 1) % tabs.length,
  Home: () => 0,
  End: () => tabs.length - 1,
};

if (tabs.length) {
  document.documentElement.classList.add("tabbed");
  nav.setAttribute("role", "tablist");
  tabs.forEach((tab, number) => {
    tab.setAttribute("role", "tab");
    tab.setAttribute("aria-controls", panels[number].id);
    panels[number].setAttribute("role", "tabpanel");
    panels[number].tabIndex = 0;
    tab.addEventListener("click", (event) => {
      event.preventDefault();
      show(number);
    });
    tab.addEventListener("keydown", (event) => {
      if (event.key === " ") {
        event.preventDefault();
        show(number);
      }
      if (!(event.key in KEYS)) return;
      event.preventDefault();
      const next = KEYS[event.key](number);
      show(next);
      tabs[next].focus();
    });
  });
  show(Math.max(0, panels.findIndex((panel) => "#" + panel.id === location.hash)));
}
