// What the page costs: bytes before one can type, time until then, the browser's own CPU while an answer streams.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { answered, openChat, send, shared } from './harness.mjs';
import { startMock } from './mock.mjs';
import { browserCpu } from './cpu.mjs';

const here = shared();

test('input works at once; markdown, code and formulas come when they are needed', async () => {
  const mock = await startMock(['Hi']);
  const page = await (await here.browser.newContext()).newPage();
  const early = [];
  page.on('request', (request) => early.push(new URL(request.url()).pathname));
  await page.goto(mock.url);
  await page.waitForSelector('#message-box');
  const ready = await page.evaluate(() => performance.now());
  console.log(`input usable after ${ready.toFixed(0)} ms`);
  await page.waitForTimeout(500);
  assert.ok(!early.some((path) => /highlight|math|settings|page-/.test(path)), early.join(' '));
  mock.stop();
});

test('the browser’s CPU per 1,000 tokens at 200 a second', { timeout: 60_000 }, async () => {
  const words = 'The serval hunts in tall grass and hears what moves below. It **leaps** high. '.split(/(?= )/);
  const pieces = Array.from({ length: 1000 }, (_, i) => (i % 90 === 89 ? '\n\n' : words[i % words.length]));
  const mock = await startMock(pieces, { pause: 5 });
  const page = await openChat(await here.browser.newContext(), mock.url);
  await page.waitForTimeout(1000);
  const begin = browserCpu();
  await send(page, 'go');
  await answered(page);
  const seconds = browserCpu() - begin;
  console.log(`browser CPU per 1,000 streamed tokens: ${seconds.toFixed(2)} s`);
  assert.ok(seconds < 6, `${seconds} s`);
  mock.stop();
});
