// Comfort on every page: the theme's button, the menu of small screens, dialogs, copying, what live parts say.
(() => {
  "use strict";
  const root = document.documentElement;
  const themes = ["system", "light", "dark"];

  const themeButton = document.getElementById("theme-button");
  const theme = () => root.dataset.theme || "system";
  const nameTheme = () => {
    themeButton.textContent = `Theme: ${theme()}`;
  };
  themeButton.hidden = false;
  nameTheme();
  themeButton.addEventListener("click", () => {
    const next = themes[(themes.indexOf(theme()) + 1) % themes.length];
    if (next === "system") {
      delete root.dataset.theme;
      localStorage.removeItem("pgwitness-theme");
    } else {
      root.dataset.theme = next;
      localStorage.setItem("pgwitness-theme", next);
    }
    nameTheme();
  });

  const menuButton = document.getElementById("menu-button");
  const side = document.getElementById("side");
  const openMenu = (open) => {
    menuButton.setAttribute("aria-expanded", String(open));
    side.classList.toggle("open", open);
  };
  side.classList.add("folds");
  menuButton.hidden = false;
  menuButton.addEventListener("click", () => openMenu(menuButton.getAttribute("aria-expanded") !== "true"));
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && side.classList.contains("open")) {
      openMenu(false);
      menuButton.focus();
    }
  });

  const say = (text) => {
    document.getElementById("announcer").textContent = text;
  };

  // data-dialog="ID" opens a dialog; in one, data-close closes it. Without scripts its form stands in the page.
  const adopt = (part) => {
    for (const dialog of part.querySelectorAll("dialog.needs-script")) {
      dialog.classList.remove("needs-script");
      dialog.removeAttribute("open");
    }
    for (const button of part.querySelectorAll("button[hidden][data-dialog], button[hidden][data-copy]")) {
      button.hidden = false;
    }
  };
  adopt(document);
  document.addEventListener("htmx:load", (event) => adopt(event.target));
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-dialog], [data-close], [data-copy]");
    if (!button) {
      return;
    }
    if (button.dataset.dialog) {
      document.getElementById(button.dataset.dialog).showModal();
    } else if (button.dataset.copy) {
      await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
      say("Copied");
      button.textContent = "Copied";
    } else {
      button.closest("dialog").close();
    }
  });

  // An address names the filters that are set, and no others.
  document.addEventListener("submit", (event) => {
    if (event.target.hasAttribute("data-tidy")) {
      const empty = [...event.target.elements].filter((field) => field.name && !field.value.trim());
      for (const field of empty) {
        field.disabled = true;
      }
      setTimeout(() => empty.forEach((field) => { field.disabled = false; }));
    }
  });

  // data-confirm="QUESTION": a form that asks before it does what cannot be undone.
  const question = document.createElement("dialog");
  const words = document.createElement("p");
  words.id = "question-words";
  const yes = document.createElement("button");
  yes.className = "danger";
  const no = document.createElement("button");
  no.textContent = "Cancel";
  const buttons = document.createElement("div");
  buttons.className = "actions";
  buttons.append(no, yes);
  question.setAttribute("aria-labelledby", words.id);
  question.append(words, buttons);
  document.body.append(question);
  let asking = null;
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.dataset.confirm && form !== asking) {
      event.preventDefault();
      words.textContent = form.dataset.confirm;
      yes.textContent = form.dataset.confirmButton || "Yes";
      asking = form;
      question.showModal();
      no.focus();
    }
  });
  no.addEventListener("click", () => question.close());
  yes.addEventListener("click", () => {
    const form = asking;
    question.close("yes");
    // A live part may have been renewed meanwhile, and a form that is not in the page is not sent.
    if (!form.isConnected) {
      form.hidden = true;
      document.body.append(form);
    }
    asking = form;
    form.requestSubmit();
  });
  question.addEventListener("close", () => { asking = null; });

  // A live part that cannot be renewed must not look as if nothing happened.
  const stale = document.createElement("p");
  stale.className = "stale";
  stale.setAttribute("role", "alert");
  stale.textContent = "No answer from the gateway: what you see is not live.";
  document.addEventListener("htmx:afterRequest", (event) => {
    if (!event.detail.elt.hasAttribute("data-live")) {
      return;
    }
    if (event.detail.successful) {
      stale.remove();
    } else if (!stale.isConnected) {
      document.getElementById("content").prepend(stale);
    }
  });

  // Nothing is asked for a page that nobody sees, nor renewed under somebody's fingers.
  document.addEventListener("htmx:beforeRequest", (event) => {
    const part = event.detail.elt;
    const busy = part.contains(document.activeElement) && document.activeElement.matches("input, select, button");
    if (part.hasAttribute("data-live") && (document.hidden || busy || part.querySelector("dialog[open]"))) {
      event.preventDefault();
    }
  });
})();
