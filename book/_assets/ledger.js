// The filter of the ledger. Without this script all claims are shown.
document.querySelectorAll(".nd-filter").forEach((form) => {
  const claims = [...document.querySelectorAll(".nd-claim")];
  const show = () => {
    const { paper, status, words } = Object.fromEntries(new FormData(form));
    const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
    claims.forEach((claim) => {
      const text = claim.textContent.toLowerCase();
      claim.hidden =
        (paper && claim.dataset.paper !== paper) ||
        (status && claim.dataset.status !== status) ||
        !wanted.every((word) => text.includes(word));
    });
    form.querySelector("[role=status]").textContent =
      `${claims.filter((claim) => !claim.hidden).length} of ${claims.length} claims`;
  };
  form.addEventListener("input", show);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
  show();
});
