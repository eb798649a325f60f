// axe-core on every state of both pages, and a run with the keyboard alone.
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { answered, openChat, send, shared, startServer, watch } from './harness.mjs';

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const here = shared([]);

async function violations(page) {
  await page.evaluate(axe);
  const result = await page.evaluate(() => window.axe.run(document, { resultTypes: ['violations'] }));
  return result.violations.flatMap((v) => v.nodes.map((node) => `${v.id} (${v.impact}): ${node.target.join(' ')} ${node.failureSummary?.split('\n')[1] ?? ''}`)).slice(0, 8);
}

// The policy also binds what the test would inject; axe itself needs evaluation.
const quiet = (options) => here.browser.newContext({ bypassCSP: true, locale: 'en-US', reducedMotion: 'reduce', ...options });

for (const colorScheme of ['light', 'dark']) {
  test(`axe finds nothing: chat, ${colorScheme}`, async () => {
    const context = await quiet({ colorScheme });
    const page = await openChat(context, here.server.url);
    await page.waitForSelector('.chip:not(:empty)');
    assert.deepEqual(await violations(page), [], 'empty');
    await page.evaluate(() => localStorage.setItem('serval.last', JSON.stringify({ system: '', sampling: { temperature: 0, max_tokens: 120 } })));
    await page.reload();
    await page.waitForSelector('.chip:not(:empty)');
    await send(page, 'Write a short Python function, then a list of three animals.');
    await page.waitForSelector('.message.assistant .markdown .block');
    assert.deepEqual(await violations(page), [], 'streaming');
    await answered(page);
    await page.getByRole('button', { name: 'Answer again' }).click();
    await answered(page);
    assert.deepEqual(await violations(page), [], 'conversation');
    await page.getByRole('button', { name: 'Token probabilities' }).click();
    await page.waitForSelector('.alternatives');
    assert.deepEqual(await violations(page), [], 'probabilities');
    await page.click('#open-settings');
    assert.deepEqual(await violations(page), [], 'settings');
    await page.keyboard.press('Escape');
    await page.setViewportSize({ width: 320, height: 640 });
    await page.click('#toggle-menu');
    assert.deepEqual(await violations(page), [], 'phone menu');
    await context.close();
  });

  test(`axe finds nothing: monitor, ${colorScheme}`, async () => {
    const context = await quiet({ colorScheme });
    const chat = await openChat(context, here.server.url);
    await chat.evaluate(() => localStorage.setItem('serval.last', JSON.stringify({ system: '', sampling: { temperature: 0, max_tokens: 30 } })));
    await chat.click('#new-chat');
    await send(chat, 'Count to ten.');
    await answered(chat);
    const page = await context.newPage();
    await page.goto(`${here.server.url}/monitor`);
    await page.waitForSelector('.requests tbody tr');
    await page.waitForSelector('.uplot');
    assert.deepEqual(await violations(page), [], 'live');
    await page.keyboard.press('t');
    await page.waitForSelector('.panel-twin table');
    assert.deepEqual(await violations(page), [], 'tables');
    for (const tab of ['plan', 'tiers', 'log', 'doctor']) {
      await page.click(`#tab-${tab}`);
      await page.waitForTimeout(300);
      assert.deepEqual(await violations(page), [], tab);
    }
    await page.locator('.requests [data-act="open"]').first().click();
    await page.waitForSelector('dialog .story');
    assert.deepEqual(await violations(page), [], 'request');
    await page.keyboard.press('Escape');
    await page.setViewportSize({ width: 320, height: 640 });
    assert.deepEqual(await violations(page), [], 'phone');
    await context.close();
  });
}

test('axe finds nothing: one’s own requests, and texts', async () => {
  const file = join(mkdtempSync(join(tmpdir(), 'serval-keys-')), 'keys');
  writeFileSync(file, 'alices-key-0123456789 alice\nadmin-key-0123456789 root admin\n');
  const other = await startServer(['--keys', file, '--monitor-text', '--no-machine-limits']);
  try {
    const context = await quiet({});
    await fetch(`${other.url}/v1/completions`, {
      method: 'POST', headers: { 'content-type': 'application/json', authorization: 'Bearer alices-key-0123456789' },
      body: JSON.stringify({ prompt: 'One two three', max_tokens: 5 }),
    });
    const page = await context.newPage();
    await page.goto(`${other.url}/monitor`);
    for (const [key, name] of [['alices-key-0123456789', 'own'], ['admin-key-0123456789', 'texts']]) {
      if (name === 'texts') await page.click('#other-key');
      await page.waitForSelector('dialog #key-input');
      assert.deepEqual(await violations(page), [], `key for ${name}`);
      await page.fill('#key-input', key);
      await page.keyboard.press('Enter');
      await page.waitForSelector(name === 'own' ? '#other-key' : '.requests .text bdi:not(:empty)');
      await page.waitForSelector('.requests tbody tr');
      assert.deepEqual(await violations(page), [], name);
      await page.locator('.requests [data-act="open"]').first().click();
      await page.waitForSelector('dialog .story');
      assert.deepEqual(await violations(page), [], `story of ${name}`);
      await page.keyboard.press('Escape');
    }
    await context.close();
  } finally {
    await other.stop();
  }
});

test('the keyboard alone: send, stop, edit, branch, search, monitor, back', async () => {
  const context = await here.browser.newContext({ locale: 'en-US' });
  const faults = await watch(context);
  const page = await openChat(context, here.server.url);
  const keys = async (...names) => { for (const name of names) await page.keyboard.press(name); };
  const tabTo = async (name) => {
    for (let i = 0; i < 60; i++) {
      const label = await page.evaluate(() => document.activeElement?.getAttribute('aria-label') ?? document.activeElement?.textContent ?? '');
      if (label.trim().startsWith(name)) return;
      await page.keyboard.press('Tab');
    }
    assert.fail(`no way to ${name} with Tab`);
  };
  assert.equal(await page.evaluate(() => document.activeElement.id), 'message-box');
  await page.keyboard.type('Tell me a very long story.');
  await keys('Enter');
  await page.waitForSelector('.message.assistant .block');
  await keys('Escape');
  await answered(page, 5000);
  await keys('ArrowUp');
  await page.keyboard.press('Control+a');
  await page.keyboard.type('Say yes.');
  await keys('Enter');
  await page.waitForSelector('.branches');
  await keys('Escape');
  await answered(page, 10_000);
  await tabTo('Previous version');
  await keys('Enter');
  await page.waitForFunction(() => document.querySelector('.own')?.textContent.startsWith('Tell'));
  await keys('Control+k');
  await page.keyboard.type('yes');
  await page.waitForFunction(() => document.querySelectorAll('.conversations li').length === 1);
  await keys('Tab', 'Enter');
  await page.waitForFunction(() => document.activeElement?.id === 'message-box');
  await page.keyboard.press('Shift+Tab');
  await keys('?');
  await page.waitForSelector('dialog .keys');
  await keys('Escape');
  await page.waitForSelector('dialog', { state: 'detached' });
  await keys('g', 'm');
  await page.waitForSelector('.monitor');
  await keys('t');
  await page.waitForSelector('.panel-twin table');
  await keys('t', 'g', 'c');
  await page.waitForSelector('#message-box');
  assert.deepEqual(faults, []);
  await context.close();
});
