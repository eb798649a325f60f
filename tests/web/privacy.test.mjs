// Whose requests and whose text the monitor's page shows, and to whom.
import assert from 'node:assert/strict';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { contextForEach, shared, startServer } from './harness.mjs';

const kAlice = 'alices-key-0123456789', kBob = 'bobs-key-0123456789', kAdmin = 'admin-key-0123456789';
const file = join(mkdtempSync(join(tmpdir(), 'serval-keys-')), 'keys');
writeFileSync(file, `${kAlice} alice\n${kBob} bob\n${kAdmin} root admin\n`);

const here = shared();
contextForEach(here);

async function withServer(options, run) {
  const server = await startServer(['--keys', file, '--no-machine-limits', ...options]);
  const ask = (key, prompt, max_tokens) => fetch(`${server.url}/v1/completions`, {
    method: 'POST', headers: { 'content-type': 'application/json', authorization: `Bearer ${key}` },
    body: JSON.stringify({ prompt, max_tokens, ignore_eos: true, temperature: 0 }),
  }).then((response) => response.json());
  try {
    await run(server, ask);
  } finally {
    await server.stop();
  }
}

async function open(server, key) {
  const page = await here.context.newPage();
  await page.goto(`${server.url}/monitor`);
  await page.waitForSelector('dialog #key-input');
  await page.fill('#key-input', key);
  await page.keyboard.press('Enter');
  await page.waitForSelector('.status.live');
  return page;
}

test('an owner sees the own requests and their stories, nothing of others; an admin key opens the rest', () => withServer([], async (server, ask) => {
  await ask(kBob, 'Bob was here first', 9);
  await ask(kAlice, 'Alice asks', 11);
  await ask(kBob, 'Bob again', 7);
  const asked = [];
  here.context.on('request', (request) => asked.push(new URL(request.url()).pathname));
  const page = await open(server, kAlice);
  await page.waitForSelector('.requests tbody tr');
  assert.match(await page.locator('#notice').innerText(), /requests of your own key \(alice\)/);
  const rows = await page.$$eval('.requests tbody tr', (all) => all.map((row) => [...row.cells].slice(0, 6).map((cell) => cell.textContent)));
  assert.equal(rows.length, 1);
  assert.deepEqual([rows[0][0], rows[0][2], rows[0][5]], ['1', 'alice', '11']);
  assert.equal(await page.locator('[data-act="cancel"]').count(), 0);
  await page.locator('.requests [data-act="open"]').click();
  await page.waitForSelector('dialog .story');
  const story = await page.locator('dialog').innerText();
  assert.match(story, /It took .*, most of it/);
  assert.doesNotMatch(story, /of others|others began|Step/);
  await page.keyboard.press('Escape');
  await page.keyboard.press('t');
  const all = await page.locator('.monitor').innerText();
  assert.doesNotMatch(all, /bob|KV cache|Steps of the engine|Prefix tree|Save trace/i);
  assert.deepEqual([...new Set(asked.filter((path) => path.startsWith('/admin')))], ['/admin/monitor/stream'], 'asked once, and refused');

  await page.click('#other-key');
  await page.fill('#key-input', kAdmin);
  await page.keyboard.press('Enter');
  await page.waitForSelector('section[aria-label="KV cache"]:visible');
  await page.waitForFunction(() => document.querySelectorAll('.requests tbody tr').length === 3);
  assert.equal(await page.locator('#notice').innerText(), '');
}));

test('text is shown only with --monitor-text, under a notice that stays in sight', async () => {
  const prompt = 'A very private matter about the purple elephant, told to nobody else, and longer than eighty characters';
  await withServer([], async (server, ask) => {
    await ask(kAlice, prompt, 20);
    const page = await open(server, kAdmin);
    await page.waitForSelector('.requests tbody tr');
    await page.locator('.requests [data-act="open"]').click();
    await page.waitForSelector('dialog .story');
    assert.doesNotMatch(await page.content(), /purple|elephant|private/);
    assert.equal(await page.locator('#notice').innerText(), '');
  });
  await withServer(['--monitor-text'], async (server, ask) => {
    assert.match(server.log(), /--monitor-text: whoever may open the monitor reads/);
    await ask(kAlice, prompt, 20);
    await ask(kAlice, '<img src=x onerror=alert(1)>\u202etfel\u0007', 2);
    const page = await open(server, kAdmin);
    await page.waitForFunction(() => document.querySelectorAll('.requests .text').length === 2 && [...document.querySelectorAll('.requests .text')].every((cell) => cell.textContent));
    const texts = await page.locator('.requests .text bdi:first-child').allTextContents();
    assert.deepEqual(texts, ['<img src=x onerror=alert(1)> tfel ', prompt.slice(0, 80)]);
    await page.evaluate(() => document.querySelector('.monitor').scrollTo(0, 1e6));
    const notice = page.locator('#notice');
    assert.match(await notice.innerText(), /first 80 characters of every prompt and answer are shown/);
    const box = await notice.boundingBox();
    assert.ok(box.y >= 0 && box.y + box.height <= 200, JSON.stringify(box));
    await page.locator('.requests [data-act="open"]').last().click();
    assert.match(await page.locator('dialog .texts').innerText(), /purple elephant/);
  });
});
