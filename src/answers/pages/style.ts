/**
 * How do the pages look? Tokens for colour, space and type, which the stand-ins of `npm start` and the built-in terminal share,
 * and the styles of the gateway's own pages. They are part of each page, so that a page is one request and is whole also where
 * nothing else is served.
 */

/** Colours of a dark page. */
const DARK =
  '--page:#0f1216;--card:#181c23;--line:#2a303a;--edge:#77829a;--ink:#e9ecf1;--soft:#a3adbd;--accent:#8ab4ff;--on-accent:#0c1526;--accent-soft:#1f2c45;--good:#5fd0a5;--warn:#f0c36d;--bad:#ff9d94;--bad-soft:#3a1d1c'

/**
 * Colour, space and type, light and dark. Text has a contrast of 4.5 to 1 or more on the page and on a card, edges of fields and
 * the focus ring 3 to 1 (WCAG 2.2, 1.4.3 and 1.4.11).
 */
export const TOKENS = `:root{color-scheme:light dark;
--page:#f5f6f8;--card:#fff;--line:#dfe3ea;--edge:#7c8698;--ink:#171b22;--soft:#545d6e;--accent:#2f55d4;--on-accent:#fff;--accent-soft:#e8edfd;--good:#0f6e4f;--warn:#835300;--bad:#b3261e;--bad-soft:#fdeceb;--screen:#0a0c10;--on-screen:#e9ecf1;
--space-1:.25rem;--space-2:.5rem;--space-3:.75rem;--space-4:1rem;--space-5:1.5rem;--space-6:2rem;
--small:.875rem;--large:1.125rem;--title:1.5rem;--text:1rem/1.55 system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif;--mono:ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace;
--round:.5rem;--round-card:.75rem;--ring:3px solid var(--accent);--target:2.75rem;--side:min(1rem,4vw)}
@media(prefers-color-scheme:dark){:root{${DARK}}}
`

/** After the tokens: those of a page that is dark whatever the person's system is, as a terminal is. */
export const ALWAYS_DARK = `:root{color-scheme:dark;${DARK}}
`

/** The styles of the gateway's own pages. */
export const STYLE = `
${TOKENS}*,::before,::after{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;min-height:100vh;min-height:100dvh;background:var(--page);color:var(--ink);font:var(--text);overflow-wrap:anywhere}
:focus-visible{outline:var(--ring);outline-offset:2px}
.skip{position:absolute;left:-999rem}.skip:focus{left:var(--space-3);top:var(--space-3);padding:var(--space-2) var(--space-3);background:var(--card);border-radius:var(--round);z-index:1}
.top{display:flex;flex-wrap:wrap;align-items:center;gap:0 var(--space-5);padding:var(--space-2) max(var(--side),calc((100% - 64rem)/2));border-bottom:1px solid var(--line);background:var(--card)}
.brand{display:inline-flex;align-items:center;gap:var(--space-2);min-width:0;min-height:var(--target);font-weight:650;color:inherit;text-decoration:none}.brand svg{width:1.5rem;height:1.5rem;flex:none;color:var(--accent)}
.top nav{display:flex;flex-wrap:wrap;gap:var(--space-1)}.top form{margin:0 0 0 auto}
.top nav a{display:flex;align-items:center;min-height:var(--target);padding:0 var(--space-3);border-radius:var(--round);color:var(--soft);text-decoration:none}.top nav a:hover{color:var(--ink)}.top nav a[aria-current]{color:var(--accent);background:var(--accent-soft);font-weight:600}
main{width:100%;margin:0 auto;padding:var(--space-5) var(--side) var(--space-6)}main:focus{outline:none}
.narrow{display:grid;align-content:center;justify-items:center;padding:var(--space-4) var(--side)}
.narrow>header{margin-bottom:var(--space-2)}
.narrow>main{max-width:27rem;padding:var(--space-6) min(2rem,6vw);background:var(--card);border:1px solid var(--line);border-radius:var(--round-card)}
.wide>main{max-width:66rem}
h1{margin:0 0 var(--space-3);font-size:var(--title);line-height:1.25;letter-spacing:-.01em;text-wrap:balance}h1,button,.button{hyphens:auto}
h2{margin:0;font-size:var(--large);line-height:1.3}h3{margin:0;font-size:1rem}.card>h3{margin-top:var(--space-5)}
p{margin:var(--space-2) 0}.soft,dt,small{color:var(--soft)}small,.small{font-size:var(--small)}
a{color:var(--accent);text-underline-offset:3px}bdi,dd{font-weight:550}code{font-family:var(--mono);font-size:.875em}
.about{margin-top:var(--space-5);padding-top:var(--space-3);border-top:1px solid var(--line);color:var(--soft);font-size:var(--small)}
.alert,.done{margin:var(--space-4) 0;padding:var(--space-3) var(--space-4);border:1px solid currentColor;border-radius:var(--round);color:var(--bad);background:var(--bad-soft)}
.done{color:var(--good);background:none}.alert p,.done p{margin:0}
label{display:block;margin:var(--space-4) 0 var(--space-1);font-weight:600;font-size:var(--small)}label small{font-weight:400}
input,select{width:100%;min-height:var(--target);padding:var(--space-2) var(--space-3);font:inherit;color:inherit;background:var(--page);border:1px solid var(--edge);border-radius:var(--round)}
input:focus-visible,select:focus-visible{outline-width:2px;outline-offset:0;border-color:var(--accent)}
input[type=checkbox],input[type=radio]{width:1.25rem;height:1.25rem;min-height:0;margin:0 var(--space-2) 0 0;vertical-align:-.25rem;accent-color:var(--accent)}
button,.button{display:inline-block;min-height:var(--target);padding:var(--space-2) var(--space-4);font:inherit;font-weight:600;line-height:1.6;text-align:center;text-decoration:none;color:var(--on-accent);background:var(--accent);border:1px solid transparent;border-radius:var(--round);cursor:pointer}
button:hover,.button:hover{filter:brightness(1.08)}button:active,.button:active{transform:translateY(1px)}button[disabled]{opacity:.6;cursor:default}[aria-disabled=true]{color:var(--soft);background:none;border-color:var(--edge);cursor:default}
.quiet{color:var(--accent);background:none;border-color:var(--edge)}.danger{color:var(--bad);background:none;border-color:var(--edge)}
.narrow main form button,.narrow .button{display:block;width:100%;margin-top:var(--space-4)}
.narrow main>form,.narrow p:has(>.button){margin-bottom:var(--space-4)}.narrow main>:last-child{margin-bottom:0}
.card{margin-top:var(--space-4);padding:var(--space-4) var(--space-5);background:var(--card);border:1px solid var(--line);border-radius:var(--round-card)}
.card>header{display:flex;flex-wrap:wrap;align-items:center;justify-content:space-between;gap:var(--space-2);min-height:var(--target)}
.rows,.chips{list-style:none;margin:var(--space-2) 0 0;padding:0}.rows>li{display:flex;flex-wrap:wrap;align-items:center;gap:var(--space-2) var(--space-4);padding:var(--space-3) 0;border-top:1px solid var(--line)}.rows>li:last-child{padding-bottom:var(--space-1)}
.rows>li>:first-child{flex:1 1 11rem}.rows p{margin:0}.acts{display:flex;flex-wrap:wrap;gap:var(--space-2)}.rows+.acts{margin-top:var(--space-3)}
.card form{margin:0}.card form p{margin-top:var(--space-4)}.rows button,.rows .button,.card>header button,.card>.acts button{min-height:2.5rem;padding:var(--space-1) var(--space-3);font-size:var(--small)}
.rows .button{display:inline-flex;align-items:center}
.chips{display:flex;flex-wrap:wrap;gap:var(--space-2) var(--space-5);padding-bottom:var(--space-1)}
.badge{display:inline-block;padding:0 var(--space-2);border:1px solid currentColor;border-radius:1rem;font-size:.8125rem;font-weight:600;color:var(--soft)}.badge.good{color:var(--good)}.badge.bad{color:var(--bad)}.badge.warn{color:var(--warn)}
details{margin-top:var(--space-3)}summary{cursor:pointer;font-weight:600;color:var(--accent);min-height:var(--target);line-height:var(--target)}
fieldset{margin:var(--space-4) 0 0;padding:0;border:0}legend{padding:0;font-weight:600;font-size:var(--small)}
.secret{display:block;margin:var(--space-3) 0;padding:var(--space-3);background:var(--page);border:1px solid var(--line);border-radius:var(--round);font-family:var(--mono);font-size:var(--small);user-select:all}
[hidden]{display:none!important}
.picture{display:grid;justify-items:center;margin:var(--space-3) 0}.picture svg{width:13rem;height:13rem;max-width:100%;padding:var(--space-2);background:#fff;border-radius:var(--round)}
.choices{display:flex;flex-wrap:wrap;gap:var(--space-1) var(--space-4)}.choices label{margin:0;min-height:2.75rem;display:inline-flex;align-items:center;font-weight:400;font-size:1rem}
.codes{columns:2 11rem;padding-left:2.25em;font-size:min(1rem,5vw);line-height:2}.codes code{white-space:nowrap}
progress{width:100%;height:.5rem;accent-color:var(--accent)}
@media(max-width:40rem){.top nav{order:1;gap:0;width:100%;margin:0 calc(-1*var(--space-2))}.top nav a{padding-inline:var(--space-2)}.card{padding:var(--space-3) min(1rem,4vw)}.narrow>main{padding-block:var(--space-5)}}
@media(pointer:coarse){.rows button,.rows .button,.card>header button,.card>.acts button{min-height:var(--target)}}
@media(forced-colors:active){button,.button{border-color:ButtonText}.badge,.alert,.done{border-color:CanvasText}}
@media(prefers-reduced-motion:reduce){*{transition:none!important;animation:none!important}button:active,.button:active{transform:none}}
`
