// Wide tables are wrapped by the theme after the page was read; what scrolls is then made reachable by keyboard.
// Its copy buttons stand in navigations without a name: a screen reader's list of landmarks leaves them out.
new MutationObserver(() => {
  for (const wrap of document.querySelectorAll('.md-typeset__scrollwrap:not([tabindex]), p:not([tabindex]):has(> img[src$="demo.svg"])')) wrap.tabIndex = 0;
  for (const nav of document.querySelectorAll(".md-code__nav:not([role])")) nav.setAttribute("role", "none");
}).observe(document.documentElement, { childList: true, subtree: true });
