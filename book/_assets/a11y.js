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

  // What scrolls sideways can be reached, and so scrolled, by keyboard.
  each("pre, .math, .cell_output, .pst-scrollable-table-container, .nd-widget, mjx-container[display]", (box) => {
    if (box.scrollWidth > box.clientWidth + 1 && !box.hasAttribute("tabindex")) box.tabIndex = 0;
  });
});
