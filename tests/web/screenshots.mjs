// The pictures of the docs, from a real server: node tests/web/screenshots.mjs [FOLDER] (default docs/images).
// SERVAL_BIN and SERVAL_TEST_MODELS as for the tests; SERVAL_MODEL: another file of that folder.
import { mkdirSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { answered, openChat, send, startBrowser, startServer } from './harness.mjs';

const folder = resolve(process.argv[2] ?? join(import.meta.dirname, '../../docs/images'));
mkdirSync(folder, { recursive: true });
const browser = await startBrowser();
const server = await startServer(['--read-bandwidth', process.env.SERVAL_READ_BANDWIDTH ?? '40'], { model: process.env.SERVAL_MODEL ?? 'qwen2.5-0.5b.gguf' });

async function picture(page, name) {
  const path = join(folder, name);
  await page.screenshot({ path });
  console.log(`${path}: ${Math.round(statSync(path).size / 1000)} KB`);
}

// Some who stream, some with long prompts, all the time.
function load(signal) {
  const words = 'river stone wind tall grass night sound leap '.repeat(40);
  const ask = (prompt, max_tokens) => fetch(`${server.url}/v1/completions`, {
    method: 'POST', signal, headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ prompt, max_tokens, ignore_eos: true, temperature: 1 }),
  }).then((response) => response.text()).catch(() => undefined);
  const forever = async (prompt, tokens) => {
    for (let i = 0; !signal.aborted; i++) await ask(`${prompt(i)}`, tokens);
  };
  void forever((i) => `Story ${i}: once upon a time`, 120);
  void forever((i) => `Letter ${i}: dear friend,`, 90);
  void forever((i) => `${words} And number ${i} of them`, 50);
  void forever((i) => `${i} ${words}`, 12);
}

try {
  const light = await browser.newContext({ viewport: { width: 1280, height: 800 }, colorScheme: 'light', locale: 'en-US' });
  await light.addInitScript(() => localStorage.setItem('serval.last', JSON.stringify({ system: '', sampling: { temperature: 0, max_tokens: 200 } })));
  const chat = await openChat(light, server.url);
  await send(chat, 'How does a cat land on its feet?');
  await answered(chat, 240_000);
  await chat.click('#new-chat');
  await send(chat, 'Show me a short Python function that finds the primes below n, and explain it in one sentence.');
  await answered(chat, 240_000);
  await chat.waitForTimeout(500);
  await chat.evaluate(() => (document.querySelector('.scroller').scrollTop = 0));
  await picture(chat, 'chat.png');
  await chat.getByRole('button', { name: 'Token probabilities' }).click();
  await chat.waitForSelector('.token');
  await chat.locator('.surprise3').first().hover();
  await picture(chat, 'probabilities.png');
  await light.close();

  const controller = new AbortController();
  load(controller.signal);
  const dark = await browser.newContext({ viewport: { width: 1440, height: 1160 }, colorScheme: 'dark', locale: 'en-US' });
  const monitor = await dark.newPage();
  await monitor.goto(`${server.url}/monitor`);
  await monitor.waitForTimeout(14_000);
  await picture(monitor, 'monitor.png');
  await monitor.click('#tab-plan');
  await monitor.waitForSelector('#tab-panel h3');
  await monitor.evaluate(() => document.querySelector('.tabs').scrollIntoView({ block: 'start' }));
  await monitor.evaluate(() => document.querySelector('.monitor').scrollBy(0, -70));
  await monitor.waitForTimeout(600);
  await picture(monitor, 'plan.png');
  await monitor.click('[data-act="why"]');
  await monitor.waitForSelector('dialog .story');
  await monitor.setViewportSize({ width: 1200, height: 860 });
  await picture(monitor, 'request.png');
  controller.abort();
} finally {
  await browser.close();
  await server.stop();
}
