// Who is signed in and came by a link of another site goes on: only that first request had no cookie.
(async () => {
  "use strict";
  const answer = await fetch("/sign-in/state", { headers: { Accept: "application/json" } });
  if (answer.ok && (await answer.json()).signed_in) {
    location.replace(document.getElementById("sign-in").dataset.next);
    return;
  }
  document.getElementById("token").focus();
})();
