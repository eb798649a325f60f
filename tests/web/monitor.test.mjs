// The monitor, on a real engine under load: what it shows is what the server says elsewhere.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { contextForEach, shared, startServer } from './harness.mjs';

const here = shared([]);
contextForEach(here, { viewport: { width: 1280, height: 900 } });

const ask = (prompt, max_tokens) => fetch(`${here.server.url}/v1/completions`, {
  method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ prompt, max_tokens, ignore_eos: true }),
}).then((response) => response.json());

async function open(path = '/monitor') {
  const page = await here.context.newPage();
  await page.goto(here.server.url + path);
  await page.waitForSelector('.status.live');
  return page;
}

test('requests appear, with the tokens that the client was told, and with a reason', async () => {
  const page = await open();
  const answers = await Promise.all([ask('The sea is', 40), ask('A short list: '.repeat(60), 20), ask('Once', 30)]);
  await page.waitForFunction(() => document.querySelectorAll('.requests tbody tr').length >= 3);
  await page.waitForFunction(() => [...document.querySelectorAll('.requests .state')].every((s) => s.textContent.startsWith('✓')));
  const shown = await page.$$eval('.requests tbody tr', (rows) => rows.map((row) => [3, 5].map((i) => Number(row.cells[i].textContent.replace(/,/g, '')))));
  for (const { usage } of answers) {
    assert.ok(shown.some(([prompt, out]) => prompt === usage.prompt_tokens && out === usage.completion_tokens), JSON.stringify([usage, shown]));
  }
  await page.selectOption('#request-sort', 'total');
  await page.locator('.requests [data-act="open"]').first().click();
  await page.waitForSelector('dialog .story li');
  const story = await page.locator('dialog .story').innerText();
  assert.match(story, /Waited .* in the queue/);
  assert.match(story, /The prompt took .* tokens computed, .* found in the cache/);
});

test('totals equal those of /metrics; steps, cache map and shares are drawn', async () => {
  const page = await open();
  await ask('Numbers: one, two, three,', 60);
  await page.waitForTimeout(1500);
  const steps = await page.evaluate(() => {
    const canvas = document.querySelector('.timeline');
    const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
    return pixels.some((v, i) => i % 4 === 3 && v > 0);
  });
  assert.ok(steps);
  await page.keyboard.press('t');
  await page.waitForSelector('.panel-twin tbody tr');
  const table = await page.locator('section[aria-label="Steps of the engine"] tbody tr').count();
  assert.ok(table > 0);
  const snapshot = await (await fetch(`${here.server.url}/admin/monitor`)).json();
  const metrics = await (await fetch(`${here.server.url}/metrics`)).text();
  const generated = Number(/^vllm:generation_tokens_total(?:\{[^}]*\})? (\S+)$/m.exec(metrics)[1]);
  assert.equal(snapshot.frame.total.dec, generated);
  const blocks = await page.locator('section[aria-label="KV cache"] tbody tr td:nth-child(2)').allTextContents();
  assert.equal(blocks.map((v) => Number(v.replace(/,/g, ''))).reduce((a, b) => a + b), snapshot.hello.kv.blocks);
});

test('a request is cancelled from the table', async () => {
  const page = await open();
  const answer = ask('A long story:', 6000);
  await page.locator('.requests [data-act="cancel"]').first().click();
  await page.locator('dialog .danger').click();
  await page.waitForSelector('.requests .state.cancelled');
  await answer.catch(() => undefined);
});

test('a zoomed timeline holds still, shows a step, and follows again', async () => {
  const page = await open();
  const answer = ask('Water', 200);
  await page.waitForTimeout(1200);
  await page.focus('.timeline');
  await page.keyboard.press('ArrowLeft');
  await page.keyboard.press('ArrowLeft');
  assert.match(await page.locator('.step-sheet').innerText(), /Step [\d,]+[\s\S]*Predicted/);
  await page.getByRole('button', { name: 'Follow' }).click();
  await answer;
});

test('paused by its button and in a hidden tab; no stream is open then', async () => {
  const page = await open();
  await page.click('#pause');
  await page.waitForSelector('.status.paused');
  await page.click('#pause');
  await page.waitForSelector('.status.live');
  await page.evaluate(() => {
    Object.defineProperty(document, 'hidden', { value: true, configurable: true });
    document.dispatchEvent(new Event('visibilitychange'));
  });
  await page.waitForSelector('.status.paused');
});

test('a server that dies is said so, and found again', async () => {
  const other = await startServer();
  const port = new URL(other.url).port;
  const page = await here.context.newPage();
  await page.goto(`${other.url}/monitor`);
  await page.waitForSelector('.status.live');
  await other.stop();
  await page.waitForSelector('.banner:has-text("does not answer; trying again")');
  const again = await startServer([], { port });
  try {
    await page.waitForSelector('.status.live', { timeout: 20_000 });
    assert.equal(await page.locator('.banner[role="alert"]').innerText(), '');
  } finally {
    await again.stop();
  }
});

test('an event is on the page within 600 ms', async () => {
  const page = await open();
  await page.waitForTimeout(600);
  const before = await page.locator('.requests tbody tr').count();
  const seen = page.waitForFunction((n) => document.querySelectorAll('.requests tbody tr').length > n, before, { polling: 20 }).then(() => performance.now());
  const begin = performance.now();
  const answer = ask('Quick', 100);
  const late = (await seen) - begin;
  console.log(`event to page: ${late.toFixed(0)} ms`);
  // Half a second is the stream's own rhythm; the rest is room for a busy test machine.
  assert.ok(late < 1500, `${late} ms`);
  await answer;
});
