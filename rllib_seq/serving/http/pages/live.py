"""The page at `/`: one file, no network but the server's own `/live`."""

__all__ = ["PAGE"]

PAGE = """<!doctype html><html lang=en><head><meta charset=utf-8>
<meta name=viewport content='width=device-width, initial-scale=1'>
<title>rllib-seq bid server</title><style>
:root { color-scheme: light dark; --ink: #1a1d21; --paper: #fff; --line: #d9dde3; --mark: #2f6fde; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e9ee; --paper: #14171b; --line: #3a414b; --mark: #7aa7ff; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
       max-width: 60rem; margin: 0 auto; padding: 1rem; }
main { display: grid; grid-template-columns: repeat(auto-fit, minmax(14rem, 1fr)); gap: 1rem; }
section { border: 1px solid var(--line); border-radius: .5rem; padding: .8rem 1rem; }
h2 { font-size: .9rem; font-weight: 500; margin: 0; }
b { font-size: 1.8rem; font-variant-numeric: tabular-nums; }
svg { width: 100%; height: 3rem; } polyline { fill: none; stroke: var(--mark); stroke-width: 2; }
progress { width: 100%; accent-color: var(--mark); } #state { min-height: 1.5em; }
</style></head><body><h1>Bid server</h1><p id=state role=status>waiting for figures</p><main>
<section><h2>Bids per second</h2><b id=rate>–</b>
<svg viewBox='0 0 120 40' preserveAspectRatio=none aria-hidden=true><polyline id=line /></svg>
</section>
<section><h2>Win rate</h2><b id=win_rate>–</b></section>
<section><h2>Spend against plan</h2><b id=spend>–</b><br><span id=plan></span>
<progress id=share max=1 value=0></progress></section>
<section><h2>Wins, clicks, conversions</h2><b id=counts>–</b></section>
<section><h2>Users in memory</h2><b id=users>–</b></section>
<section><h2>Late answers</h2><b id=late>–</b></section>
<section><h2>Commonest reasons for no bid</h2><span id=no_bid>–</span></section>
</main><script>
const show = (id, text) => { document.getElementById(id).textContent = text; };
const number = (value, digits = 0) => value == null ? '–'
  : value.toLocaleString('en', { maximumFractionDigits: digits });
const rates = []; let before = null;
async function update() {
  try {
    const answer = await fetch('live' + location.search);
    if (!answer.ok) throw new Error('the server answers ' + answer.status);
    const live = await answer.json(), totals = live.totals, now = performance.now() / 1000;
    if (before) {
      rates.push(Math.max(0, (totals.bids - before.bids) / (now - before.now)));
      if (rates.length > 60) rates.shift();
      show('rate', number(rates[rates.length - 1], 1));
      const most = Math.max(...rates, 1);
      document.getElementById('line').setAttribute('points',
        rates.map((rate, i) => `${i * 2},${38 - 36 * rate / most}`).join(' '));
    }
    before = { bids: totals.bids, now };
    show('win_rate', live.win_rate == null ? '–' : number(100 * live.win_rate, 1) + ' %');
    show('spend', number(totals.spend, 4));
    show('plan', live.budget == null ? 'no budget'
      : `planned by now ${number(live.planned, 4)} of ${number(live.budget, 4)}`);
    document.getElementById('share').value = live.budget ? totals.spend / live.budget : 0;
    show('counts', [totals.wins, totals.clicks, totals.conversions].map(n => number(n)).join(', '));
    show('users', number(live.users)); show('late', number(live.late));
    show('no_bid', Object.entries(live.no_bid).map(([reason, n]) => `${reason} ${number(n)}`)
      .join(', ') || '–');
    show('state', 'model ' + live.model + ', up ' + number(live.uptime_seconds) + ' s');
  } catch (error) { show('state', 'no figures: ' + error.message); }
}
update(); setInterval(update, 1000);
</script></body></html>
"""
