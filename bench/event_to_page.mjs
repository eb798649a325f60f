// How late an event is on the monitor's page: a request enters the queue, its row is painted. Both by the clock of this
// machine, the first as the server noted it:  node bench/event_to_page.mjs [EVENTS=40]
// SERVAL_BIN and SERVAL_TEST_MODELS as for tests/web. Also the browser's CPU while the page watches.
import { browserCpu } from '../tests/web/cpu.mjs';
import { startBrowser, startServer } from '../tests/web/harness.mjs';

const kEvents = Number(process.argv[2] ?? 40);
const server = await startServer();
const browser = await startBrowser();
try {
  const page = await (await browser.newContext({ viewport: { width: 1280, height: 900 }, locale: 'en-US' })).newPage();
  await page.goto(`${server.url}/monitor`);
  await page.waitForSelector('.status.live');
  await page.evaluate(() => {
    window.seen = {};
    new MutationObserver(() => {
      const ids = [...document.querySelectorAll('.requests [data-act="open"]')].map((link) => link.textContent).filter((id) => !(id in window.seen));
      for (const id of ids) window.seen[id] = 0;
      if (ids.length > 0) requestAnimationFrame(() => ids.forEach((id) => (window.seen[id] = performance.timeOrigin + performance.now())));
    }).observe(document.querySelector('.requests tbody'), { childList: true });
  });
  await page.waitForTimeout(1500);
  const cpu = browserCpu(), began = performance.now();
  for (let i = 0; i < kEvents; i++) {
    await fetch(`${server.url}/v1/completions`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ prompt: `Event ${i}`, max_tokens: 1 }) });
    await page.waitForTimeout(200 + Math.random() * 1000);
  }
  await page.waitForTimeout(1000);
  const share = (100 * (browserCpu() - cpu)) / ((performance.now() - began) / 1000);
  const seen = await page.evaluate(() => window.seen);
  const { hello, reqs } = await (await fetch(`${server.url}/admin/monitor`)).json();
  const late = reqs.rows.map((row) => seen[row[0]] - (hello.unix_ms - hello.t_ms + row[11][0])).sort((a, b) => a - b);
  const at = (part) => Math.round(late[Math.min(late.length - 1, Math.floor(part * late.length))]);
  console.log(JSON.stringify({ events: late.length, median_ms: at(0.5), p95_ms: at(0.95), most_ms: at(1), within_600_ms: late.filter((ms) => ms <= 600).length, browser_cpu_percent_of_a_core: Number(share.toFixed(1)) }));
} finally {
  await browser.close();
  await server.stop();
}
