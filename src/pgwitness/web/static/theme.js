// Before anything is painted: the theme that was chosen in this browser.
(() => {
  "use strict";
  const chosen = localStorage.getItem("pgwitness-theme");
  if (chosen === "light" || chosen === "dark") {
    document.documentElement.dataset.theme = chosen;
  }
})();
