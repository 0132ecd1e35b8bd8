// Names and roles that the theme leaves out, so that a screen reader can tell what each control does.
document.addEventListener("DOMContentLoaded", () => {
  const each = (selector, change) => document.querySelectorAll(selector).forEach(change);

  // A visible label must be part of the accessible name: drop names that say something else than the text shown.
  each("button[aria-label], a[aria-label], summary[aria-label]", (element) => {
    const text = element.innerText.trim().toLowerCase();
    if (text && !element.getAttribute("aria-label").toLowerCase().includes(text)) element.removeAttribute("aria-label");
  });

  each("summary", (summary) => {
    if (!summary.innerText.trim() && !summary.hasAttribute("aria-label")) {
      const item = summary.closest("li")?.querySelector("a")?.innerText.trim();
      summary.setAttribute("aria-label", item ? `Sections of ${item}` : "Show or hide");
    }
  });

  // Everything visible lies in a landmark.
  each(".bd-sidebar-primary", (sidebar) => {
    if (!sidebar.hasAttribute("role")) {
      sidebar.setAttribute("role", "navigation");
      sidebar.setAttribute("aria-label", "Book");
    }
  });

  // A list holds list items; the role of a bibliography entry is deprecated.
  each(".citation-list > .citation", (entry) => entry.setAttribute("role", "listitem"));

  // The empty corner of a data frame's header is no header.
  each("th", (cell) => {
    if (!cell.innerText.trim() && !cell.hasAttribute("role")) cell.setAttribute("role", "cell");
  });
});

// What scrolls sideways can be reached, and so scrolled, by keyboard.
const SCROLLING = "pre, .math, .output, .pst-scrollable-table-container, .nd-widget, .cell_output, mjx-container[display]";
const makeScrollable = () =>
  document.querySelectorAll(SCROLLING).forEach((box) => {
    if (box.scrollWidth > box.clientWidth && !box.hasAttribute("tabindex")) box.tabIndex = 0;
  });
window.addEventListener("load", () => (window.MathJax?.startup?.promise ?? Promise.resolve()).then(makeScrollable));
window.addEventListener("resize", makeScrollable);
